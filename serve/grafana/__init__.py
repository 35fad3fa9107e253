"""A dashboard over the table of metrics: `python -m serve.grafana.dashboard > serve/grafana/dashboard.json`."""
