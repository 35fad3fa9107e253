"""Addresses of tracking servers."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

OFF = "off"
SQLITE = "sqlite:///"


def sqlite_uri(folder: Path) -> str:
    """The default: a database file `mlflow.db` in `folder`."""
    return f"{SQLITE}{folder.absolute() / 'mlflow.db'}"


def shown(uri: str) -> str:
    """A tracking address without user and password, for messages."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def whole(uri: str) -> str:
    """A tracking address that means the same from any working directory: a database file's path becomes absolute."""
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri
