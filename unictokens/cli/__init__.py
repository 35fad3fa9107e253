"""The command line: `main` finds the command in a table; each command is one file with `add` and `run`."""
