"""What every command of this project does around its work: logging, and errors as one line with an exit code."""

import argparse
import logging
import os
import sys
from collections.abc import Callable

from unictokens.errors import UniCTokensError

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; done, but something in it failed (named); refused with a one-line reason; stopped by Ctrl-C."""


def guarded(action: Callable[[], int]) -> int:
    """Run a command; what a user can mend becomes `error: ...` on stderr and exit code 2, without a traceback."""
    try:
        return action()
    except UniCTokensError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


class StderrHandler(logging.Handler):
    """Log lines to whatever stderr is at that moment, so that progress bars can put them above themselves."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def set_up_logging(verbose: bool) -> None:
    """Warnings of ours to stderr, with `verbose` also what is being done."""
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in ("unictokens", "cluster"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if verbose else logging.WARNING)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """The option that all commands share."""
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done")
