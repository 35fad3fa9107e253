"""Who is told what a run does: files always (`jsonl`), an MLflow server by choice, from those files (`uploader`)."""
