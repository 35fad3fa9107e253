"""`python -m unictokens`: see `unictokens.cli.main`."""

import sys

from unictokens.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
