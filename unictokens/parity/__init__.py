"""Check this implementation against numbers recorded from the published code."""

from unictokens.parity.command import run

__all__ = ["run"]
