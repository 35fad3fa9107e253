"""The loop: one step for one or many runs, saving, resuming, previews."""
