"""The endpoint for every user's concepts; nothing is in this room yet."""
