"""A dataset folder: JSON read strictly, picture paths found again wherever the folder was moved, nothing outside touched.

Files are looked at as strings and by the system's own calls: a job may be about 100,000 concepts with dozens of files each.
"""

import os
import stat
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from unictokens.errors import DataError

T = TypeVar("T")

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
AUTHORS_ROOT = "unictokens_data/"
"""Absolute paths in the published files contain this folder; what follows is relative to the dataset's root."""
BLACK = "black_512x512.png"
"""The picture of questions about nothing visible, at the top of a dataset."""
MAX_JSON_BYTES = 256 * 2**20
KEPT_PLACES = 10_000
"""Pictures whose places a folder remembers."""


def shown(value: object) -> str:
    """A value for an error message: one line, not long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@dataclass(frozen=True)
class DatasetFolder:
    """The root of a dataset. Paths given to its methods are relative, with '/'."""

    root: Path

    def has(self, path: str) -> bool:
        """Whether a file or folder is there. Raises DataError where looking is not allowed."""
        try:
            os.stat(f"{self._above}{path}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise DataError(f"cannot look at '{self.root / path}' ({error.strerror}): check its permissions") from error
        return True

    def places(self, path: str) -> tuple[str, ...]:
        """Places of the pictures in a folder, sorted by name; masks (names containing "mask") are left out.

        Empty where there is no such folder. Raises DataError for one that cannot be listed.
        """
        try:
            with os.scandir(f"{self._above}{path}") as entries:
                names = sorted([name for entry in entries if _is_picture(name := entry.name) and entry.is_file()])
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise DataError(f"cannot list '{self.root / path}' ({error.strerror}): check its permissions") from error
        return tuple([f"{path}/{name}" for name in names])

    def pictures(self, path: str) -> tuple[Path, ...]:
        """The pictures in a folder (see `places`)."""
        return tuple(self.root / place for place in self.places(path))

    def folders(self, path: str) -> tuple[str, ...]:
        """Names of the folders in a folder, sorted, hidden ones left out; empty if there is no such folder."""
        try:
            found = [file.name for file in (self.root / path).iterdir() if file.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise DataError(f"cannot list '{self.root / path}' ({error.strerror}): check its permissions") from error
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def content(self, path: str) -> bytes | None:
        """Bytes of a JSON file; None where there is none. Raises DataError when it is unreadable or enormous."""
        file = f"{self._above}{path}"
        try:
            stream = os.open(file, os.O_RDONLY)
            try:
                if (size := os.fstat(stream).st_size) > MAX_JSON_BYTES:
                    raise DataError(f"'{file}' has more than {MAX_JSON_BYTES // 2**20} MiB: that is no question file")
                content = os.read(stream, size + 1)
                while part := os.read(stream, size + 1):  # nearly always nothing
                    content += part
                return content
            finally:
                os.close(stream)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"cannot read '{file}' ({error.strerror}): check its permissions") from error

    def parsed(self, path: str, content: bytes) -> Any:
        """What the JSON file `path` says with its `content`. Raises DataError where that is malformed."""
        try:
            return from_json(content)
        except ValueError as error:
            raise DataError(
                f"'{self._above}{path}' is not valid JSON ({str(error)[:100]}): correct or regenerate it"
            ) from error

    def json(self, path: str) -> Any:
        """What a JSON file says. Raises DataError when it is missing, unreadable, enormous or malformed."""
        content = self.content(path)
        if content is None:
            raise DataError(f"'{self._above}{path}' is missing: add it or check the dataset path")
        return self.parsed(path, content)

    def read(self, path: str, form: type[T]) -> T:
        """A JSON file as `form`; raises DataError naming the file, the place in it, the value and what it must be."""
        return self.check(path, self.json(path), form)

    def check(self, path: str, value: Any, form: type[T]) -> T:
        """A value of the JSON file `path` as `form` (see `read`)."""
        try:
            return _adapter(form).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = _place(first["loc"])
            got = "is missing" if first["type"] in ("missing", "missing_argument") else f"is {shown(first['input'])}"
            rule = " ".join(first["msg"].lower().split())[:120]
            raise DataError(f"'{self.root / path}': {place} {got}: {rule}; correct the file") from error

    def place(self, value: str, path: str, number: int) -> str:
        """Where the picture is that item `number` of the JSON file `path` names: its path below the root.

        An absolute path of another machine is found again below this root: after "unictokens_data/", or by its longest
        end that exists here. Raises DataError for a path that leaves the root or names no file.
        """
        found = self._found.get(value)
        if found is None:
            if len(self._found) >= KEPT_PLACES:
                self._found.clear()
            found = self._found[value] = self._find(value, path, number)
        return found

    @cached_property
    def _above(self) -> str:
        return f"{self.root}/"

    @cached_property
    def _found(self) -> dict[str, str]:
        # All concepts share the strangers' pictures.
        return {}

    def _find(self, value: str, path: str, number: int) -> str:
        where = f"'{self.root}/{path}' item {number}: image {shown(value)}"
        if not value or "\x00" in value:
            raise DataError(f"{where} is no path: give one relative to '{self.root}'")
        for candidate in self._candidates(value):
            inside = os.path.normpath(candidate)
            if inside == ".." or inside.startswith(("../", "/")):
                raise DataError(f"{where} leaves the dataset: give a path below '{self.root}'")
            try:
                if stat.S_ISREG(os.stat(f"{self._above}{inside}").st_mode):
                    return inside
            except (FileNotFoundError, NotADirectoryError, UnicodeError):
                continue
            except OSError as error:
                raise DataError(f"{where} cannot be looked up ({error.strerror}): correct the path") from error
        raise DataError(f"{where} does not exist below '{self.root}': add the picture or correct the path")

    def _candidates(self, value: str) -> list[str]:
        if not value.startswith("/"):
            return [value]
        pure = PurePosixPath(value)
        text = pure.as_posix()
        if text.startswith(f"{self.root.as_posix()}/"):
            return [text[len(self.root.as_posix()) + 1 :]]
        candidates = [text.rsplit(AUTHORS_ROOT, 1)[1]] if AUTHORS_ROOT in text else []
        ends = ["/".join(pure.parts[at:]) for at in range(1, len(pure.parts))]
        # A bare file name is no evidence, "0.png" could be any picture; only the placeholder lies at the top.
        return candidates + [end for end in ends if ".." not in end.split("/") and ("/" in end or end == BLACK)]


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES) and "mask" not in name and not name.startswith(".")


def _place(loc: tuple[int | str, ...]) -> str:
    if loc and isinstance(loc[0], int):
        rest = ".".join(str(part) for part in loc[1:])
        return f"item {loc[0]}" + (f", {rest}" if rest else "")
    return ".".join(str(part) for part in loc) or "the content"


@cache
def _adapter(form: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(form)
