"""A bucket, or whatever else fsspec opens by URL, as a storage. The only file that imports fsspec.

A put of an object store is atomic: a reader sees the old object or the new one, an upload that breaks off is never visible.
`create` needs a server with conditional writes (If-None-Match: S3 itself, MinIO, Ceph, R2; ifGenerationMatch: Google's);
`unictokens.output.Output.prepare` finds out whether it is one, because some ignore the condition without a word.

Of Google's buckets, gcsfs by default first asks for the kind, over another protocol and with rights that reading and writing do
not need, and writes to a zonal one without any condition. Here it does neither (`_google`).
"""

import logging
import os
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
GOOGLE = ("gs", "gcs")
FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("gcsfs.retry", "NonRetryableError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""Errors of the libraries behind fsspec that are no OSError."""
UNREACHABLE = (
    *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyConnectionError", "SSLError"),
    *("ProxyError", "TransportError"),
)
OVERLOADED = ("408", "429", "500", "502", "503", "504", "SlowDown", "InternalError", "ServiceUnavailable")
"""Codes that the libraries ask again for before they tell of them; gcsfs six times, within half a minute."""
BUSY = ("ConditionalRequestConflict", "409")
"""Codes of a server that is just deciding about another conditional write of the same name."""
TRIES = 5
PAUSE_SECONDS = 0.1
SILENT_SECONDS = 60.0
"""How long a server may say nothing before it is asked again; as botocore has it for S3, gcsfs would wait for ever."""


class FsspecStorage:
    """Objects below a URL. See `Storage`. Pickles as its URL; opens the connection anew in each process.

    Raises DependencyError when the library behind the URL is not installed, ConfigError when fsspec knows no such scheme.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._scheme = root.partition("://")[0]
        try:
            kind = fsspec.get_filesystem_class(self._scheme)
        except ImportError as error:
            extra = EXTRAS.get(self._scheme)
            package = f"'unictokens[{extra}]'" if extra else "what fsspec asks for"
            raise DependencyError(f"'{root}' needs a library that is not installed: pip install {package}") from error
        except ValueError as error:
            known = ", ".join(sorted(EXTRAS))
            raise ConfigError(
                f"'{root}': '{self._scheme}' is no kind of storage that fsspec knows: use {known}"
            ) from error
        self._base = str(kind._strip_protocol(root)).rstrip("/")
        self._opened: tuple[int, Any] | None = None
        self._bucket_seen = False

    @property
    def _fs(self) -> Any:
        # A connection lives in a thread of its process, which a fork does not have.
        if self._opened is None or self._opened[0] != os.getpid():
            # Listings must be those of now: other processes write here too.
            fs = _google() if self._scheme in GOOGLE else fsspec.url_to_fs(self.root, use_listings_cache=False)[0]
            self._opened = os.getpid(), fs
        return self._opened[1]

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
                self._want_bucket(error)
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
                except (OSError, *_foreign()) as error:
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
                self._want_bucket(error)
                return ()
        inside = f"{self._base}/{under}/" if under else f"{self._base}/"
        names = (path[len(self._base) + 1 :] for path in found if path.startswith(inside) and not path.endswith("/"))
        return tuple(sorted(name for name in names if not any(part.startswith(".") for part in name.split("/"))))

    def modified(self, name: str) -> float | None:
        with self._asking("read", name):
            try:
                return self._fs.modified(self._path(name)).timestamp()
            except (IsADirectoryError, KeyError):
                return None  # a folder, as s3fs says; gcsfs looks for a time that none has
            except FileNotFoundError as error:
                self._want_bucket(error)
                return None

    def remove(self, name: str) -> None:
        with self._asking("remove", name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError as error:
                self._want_bucket(error)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _want_bucket(self, error: FileNotFoundError) -> None:
        """Raises the error when it is not an object that is missing but the bucket."""
        if _no_bucket(error):
            raise error
        if self._scheme in GOOGLE and not self._bucket_seen:
            # gcsfs leaves out what the server said; a listing fails for this reason alone.
            self._fs.ls(self._base.partition("/")[0], detail=False, max_results=1)
            self._bucket_seen = True

    @contextmanager
    def _asking(self, doing: str, name: str) -> Iterator[None]:
        """What the server, the network or the rights refuse inside the block becomes a StorageError."""
        try:
            yield
        except (OSError, NotImplementedError, ValueError, *_foreign()) as error:
            raise _refusal(error, f"{self.root}/{name}" if name else self.root, doing) from error


def _google() -> Any:
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    log = logging.getLogger("gcsfs")
    if not log.handlers:  # else Python prints the traceback of each refusal, which is told in a line here
        log.addHandler(logging.NullHandler())
    patience = ClientTimeout(sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)
    return GCSFileSystem(use_listings_cache=False, requests_timeout=patience)


def _foreign() -> tuple[type[Exception], ...]:
    # Only a library that is loaded already can have raised: importing it here would load them all.
    found = (getattr(sys.modules.get(module), name, None) for module, name in FOREIGN)
    return tuple(each for each in found if each is not None)


def _refusal(error: Exception, url: str, doing: str) -> StorageError:
    kind, code, said = type(error).__name__, _code(error), " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        return StorageError(f"cannot {doing} '{url}': there is no such bucket; create it or correct the address")
    if "Credential" in kind or "Auth" in kind or said.startswith("Anonymous caller"):
        return StorageError(f"cannot {doing} '{url}': no credentials; set them in the environment or a profile")
    if isinstance(error, PermissionError) or code in ("401", "403", "AccessDenied") or said.startswith("Forbidden"):
        return StorageError(
            f"cannot {doing} '{url}': the server refuses this key; check the credentials and what they may do"
        )
    if isinstance(error, TimeoutError | ConnectionError) or kind in UNREACHABLE or _is_network(error):
        return StorageError(f"cannot {doing} '{url}': the server does not answer; check the network and the endpoint")
    if code in OVERLOADED:
        return StorageError(
            f"cannot {doing} '{url}': the server is overloaded or out of order ({code}); try again later"
        )
    if isinstance(error, OSError) and error.errno is not None and not code:
        return storage_error(error, url, doing)
    return StorageError(f"cannot {doing} '{url}' ({said[:160] or kind}): check the address and the server")


def _is_network(error: Exception) -> bool:
    kinds = (
        getattr(sys.modules.get("aiohttp"), name, None) for name in ("ClientConnectionError", "ClientPayloadError")
    )
    return isinstance(error, tuple(kind for kind in kinds if kind is not None))


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
