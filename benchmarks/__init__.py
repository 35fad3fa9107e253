"""Measurements of what the engine costs; `python -m benchmarks NAME [--json]`."""
