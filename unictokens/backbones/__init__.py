"""Frozen unified models behind one protocol (`base`)."""
