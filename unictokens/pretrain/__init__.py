"""The recipe that makes a small Show-o base from Toyland: image tokenizer, text tokenizer, language model, model card."""
