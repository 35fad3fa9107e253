"""A bucket, or whatever else fsspec opens by URL, as a storage. The only file that imports fsspec.

A put of an object store is atomic: a reader sees the old object or the new one, an upload that breaks off is never visible.
`create` needs a server with conditional writes (If-None-Match: S3 itself, MinIO, Ceph, R2; ifGenerationMatch: Google's);
`unictokens.learn.Output.prepare` finds out whether it is one, because some ignore the condition without a word.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from unictokens.atomic import storage_error
from unictokens.errors import ConfigError, DependencyError, StorageError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""URL schemes and the optional part of this package that brings their library."""
FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""Errors of the libraries behind fsspec that are no OSError."""
UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyConnectionError", "SSLError")
BUSY = ("ConditionalRequestConflict", "409")
"""Codes of a server that is just deciding about another conditional write of the same name."""
TRIES = 5
PAUSE_SECONDS = 0.1


class FsspecStorage:
    """Objects below a URL. See `Storage`. Pickles as its URL; opens the connection anew in each process.

    Raises DependencyError when the library behind the URL is not installed, ConfigError when fsspec knows no such scheme.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        scheme = root.partition("://")[0]
        try:
            # Listings must be those of now: other processes write here too.
            self._fs, base = fsspec.url_to_fs(root, use_listings_cache=False)
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            package = f"'unictokens[{extra}]'" if extra else "what fsspec asks for"
            raise DependencyError(f"'{root}' needs a library that is not installed: pip install {package}") from error
        except ValueError as error:
            known = ", ".join(sorted(EXTRAS))
            raise ConfigError(f"'{root}': '{scheme}' is no kind of storage that fsspec knows: use {known}") from error
        self._base = str(base).rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return FsspecStorage, (self.root,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FsspecStorage) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def read(self, name: str) -> bytes | None:
        with self._asking("read", name):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError as error:
                if _no_bucket(error):
                    raise
                return None

    def write(self, name: str, data: bytes) -> None:
        with self._asking("write", name):
            self._fs.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        with self._asking("write", name):
            for left in reversed(range(TRIES)):
                try:
                    self._fs.pipe_file(self._path(name), data, mode="create")
                    return True
                except FileExistsError:
                    return False
                except OSError as error:
                    code = _code(error)
                    if code in ("PreconditionFailed", "412"):
                        return False
                    if code not in BUSY or not left:
                        raise
                    time.sleep(PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def list(self, under: str = "", deep: bool = True) -> tuple[str, ...]:
        with self._asking("list", under):
            try:
                found = self._fs.find(self._path(under), maxdepth=None if deep else 1)
            except FileNotFoundError as error:
                if _no_bucket(error):
                    raise
                return ()
        inside = f"{self._base}/{under}/" if under else f"{self._base}/"
        names = (path[len(self._base) + 1 :] for path in found if path.startswith(inside) and not path.endswith("/"))
        return tuple(sorted(name for name in names if not any(part.startswith(".") for part in name.split("/"))))

    def modified(self, name: str) -> float | None:
        with self._asking("read", name):
            try:
                return self._fs.modified(self._path(name)).timestamp()
            except FileNotFoundError as error:
                if _no_bucket(error):
                    raise
                return None

    def remove(self, name: str) -> None:
        with self._asking("remove", name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError as error:
                if _no_bucket(error):
                    raise

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    @contextmanager
    def _asking(self, doing: str, name: str) -> Iterator[None]:
        """What the server, the network or the rights refuse inside the block becomes a StorageError."""
        try:
            yield
        except (OSError, NotImplementedError, *_foreign()) as error:
            raise _refusal(error, f"{self.root}/{name}" if name else self.root, doing) from error


def _foreign() -> tuple[type[Exception], ...]:
    # Only a library that is loaded already can have raised: importing it here would load them all.
    found = (getattr(sys.modules.get(module), name, None) for module, name in FOREIGN)
    return tuple(each for each in found if each is not None)


def _refusal(error: Exception, url: str, doing: str) -> StorageError:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return StorageError(f"cannot {doing} '{url}': there is no such bucket; create it or correct the address")
    if isinstance(error, PermissionError) or _code(error) in ("401", "403", "AccessDenied"):
        return StorageError(
            f"cannot {doing} '{url}': the server refuses this key; check the credentials and what they may do"
        )
    if "Credential" in kind or "Auth" in kind:
        return StorageError(f"cannot {doing} '{url}': no credentials; set them in the environment or a profile")
    if isinstance(error, TimeoutError | ConnectionError) or kind in UNREACHABLE or _is_network(error):
        return StorageError(f"cannot {doing} '{url}': the server does not answer; check the network and the endpoint")
    if isinstance(error, OSError) and error.errno is not None and not _code(error):
        return storage_error(error, url, doing)
    reason = " ".join(str(error).split())[:160] or kind
    return StorageError(f"cannot {doing} '{url}' ({reason}): check the address and the server")


def _is_network(error: Exception) -> bool:
    client = getattr(sys.modules.get("aiohttp"), "ClientConnectionError", None)
    return client is not None and isinstance(error, client)


def _no_bucket(error: Exception) -> bool:
    return _code(error) == "NoSuchBucket" or "bucket does not exist" in str(error)


def _code(error: BaseException) -> str:
    """The server's code of an error, which s3fs keeps in its cause and gcsfs in itself; "" without one."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        if (code := getattr(each, "code", None)) is not None:
            return str(code)
    return ""
