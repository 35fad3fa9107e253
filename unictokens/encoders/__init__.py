"""Outside networks that look at pictures, each behind a protocol and one adapter file."""
