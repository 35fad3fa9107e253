"""Show-o: one transformer over text ids and image codes, a MAGVIT-v2 image tokenizer beside it."""
