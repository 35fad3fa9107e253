"""Decoding as pure functions: `maskgit` for image codes, `text` for answers."""
