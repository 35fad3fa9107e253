"""Who is told what a run does: files always (`jsonl`), an MLflow server or database by choice (`mlflow_tracker`)."""
