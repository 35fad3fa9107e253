"""Places that a user names, and what may be done there.

A place is a `Path` for a folder of this machine (or of a network file system that it mounts), or the text of a URL
(`s3://bucket/prefix`, `gs://...`, `memory://...`) that fsspec opens. Credentials are never part of a URL: they come from the
environment or a profile, so that no message, log or file can repeat them.
"""

import re
from pathlib import Path
from typing import Protocol

from unictokens.errors import ConfigError
from unictokens.lookup import resolve

Place = Path | str

STORAGES = {
    "folder": "unictokens.storage.local:LocalStorage",
    "url": "unictokens.storage.fsspec_store:FsspecStorage",
}
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)


class Storage(Protocol):
    """Objects under one root, named by relative paths with '/'.

    A name that starts with a dot is a writer's own business and is not listed. Every method raises StorageError (one line,
    naming the object) for what the disk, the network or the rights refuse; the object is then what it was before.
    """

    @property
    def root(self) -> Place:
        """The place itself, as shown to users."""
        ...

    def read(self, name: str) -> bytes | None:
        """A whole object, None when there is none of this name."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Make or replace an object; readers see the old one or the new one."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Make an object that must not exist; False when it does. Of several who try, exactly one is told True."""
        ...

    def list(self, under: str = "", deep: bool = True) -> tuple[str, ...]:
        """Sorted names of all objects below the folder `under` ("" for all); one request per thousand on a URL.

        deep  also those in its inner folders
        """
        ...

    def modified(self, name: str) -> float | None:
        """When an object was last written, in seconds since 1970 by the clock of the server; None when there is none."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object; nothing happens when there is none."""
        ...


def parse_place(text: str) -> Place:
    """A place as written on a command line.

    Raises ConfigError for a URL that lacks its bucket or carries credentials.
    """
    match = _URL.fullmatch(text)
    if match is None:
        return Path(text)
    scheme, rest = match[1].lower(), match[2].rstrip("/")
    if scheme == "file":
        return Path(match[2])
    authority = rest.partition("/")[0]
    if "@" in authority:
        # Not shown: what stands before the sign may be a secret.
        raise ConfigError(
            f"the {scheme}:// address carries credentials: take them out and set them in the environment or a profile"
        )
    if not authority or "?" in rest or "#" in rest:
        raise ConfigError(f"'{text[:200]}' is no address of a folder: write it like {scheme}://bucket/prefix")
    return f"{scheme}://{rest}"


def local_folder(text: str) -> Path:
    """A path on a command line where no URL will do. Raises ConfigError for one."""
    place = parse_place(text)
    if isinstance(place, str):
        raise ConfigError(f"'{place}' is a URL, this option needs a local path: name a folder or file of this machine")
    return place


def join(place: Place, *parts: str) -> Place:
    """A place below another."""
    return place.joinpath(*parts) if isinstance(place, Path) else "/".join((place, *parts))


def absolute(place: Place) -> Place:
    """The same place, whatever the current folder is."""
    return place.absolute() if isinstance(place, Path) else place


def open_storage(place: Place) -> Storage:
    """The storage at a place, without asking it anything yet.

    Raises DependencyError when the library behind the URL is not installed, ConfigError for an unknown kind of URL.
    """
    return resolve(STORAGES, "folder" if isinstance(place, Path) else "url", "storage")(place)
