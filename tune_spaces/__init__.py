"""Search spaces by dotted config path; nothing is in this room yet."""
