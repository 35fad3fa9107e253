"""A dataset folder: JSON read strictly, picture paths found again wherever the folder was moved, nothing outside touched."""

import json
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unictokens.errors import DataError

T = TypeVar("T")

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
AUTHORS_ROOT = "unictokens_data/"
"""Absolute paths in the published files contain this folder; what follows is relative to the dataset's root."""
BLACK = "black_512x512.png"
"""The picture of questions about nothing visible, at the top of a dataset."""
MAX_JSON_BYTES = 256 * 2**20
KEPT_PLACES = 100_000
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
            return (self.root / path).exists()
        except OSError as error:
            raise DataError(f"cannot look at '{self.root / path}' ({error.strerror}): check its permissions") from error

    def pictures(self, path: str) -> tuple[Path, ...]:
        """Pictures in a folder, sorted by name; masks (names containing "mask") are left out; empty if no folder."""
        try:
            return tuple(sorted(filter(_is_picture, (self.root / path).iterdir()), key=lambda file: file.name))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise DataError(f"cannot list '{self.root / path}' ({error.strerror}): check its permissions") from error

    def folders(self, path: str) -> tuple[str, ...]:
        """Names of the folders in a folder, sorted, hidden ones left out; empty if there is no such folder."""
        try:
            found = [file.name for file in (self.root / path).iterdir() if file.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise DataError(f"cannot list '{self.root / path}' ({error.strerror}): check its permissions") from error
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def json(self, path: str) -> Any:
        """Content of a JSON file. Raises DataError when it is missing, unreadable, enormous or malformed."""
        file = self.root / path
        try:
            if file.stat().st_size > MAX_JSON_BYTES:
                raise DataError(f"'{file}' has more than {MAX_JSON_BYTES // 2**20} MiB: that is no question file")
            return json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"'{file}' is missing: add it or check the dataset path") from error
        except OSError as error:
            raise DataError(f"cannot read '{file}' ({error.strerror}): check its permissions") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{file}' is not valid JSON ({str(error)[:100]}): correct or regenerate it") from error

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

    def picture(self, value: str, path: str, number: int) -> Path:
        """The picture that item `number` of the JSON file `path` names.

        An absolute path of another machine is found again below this root: after "unictokens_data/", or by its longest
        end that exists here. Raises DataError for a path that leaves the root or names no file.
        """
        if value in self._found:
            return self._found[value]
        found = self._find(value, path, number)
        if len(self._found) < KEPT_PLACES:
            self._found[value] = found
        return found

    @cached_property
    def _found(self) -> dict[str, Path]:
        # Questions name the same pictures again and again, and all concepts share the strangers'.
        return {}

    def _find(self, value: str, path: str, number: int) -> Path:
        where = f"'{self.root / path}' item {number}: image {shown(value)}"
        if not value or "\x00" in value:
            raise DataError(f"{where} is no path: give one relative to '{self.root}'")
        pure = PurePosixPath(value)
        for candidate in self._candidates(pure):
            inside = os.path.normpath(candidate)
            if inside == ".." or inside.startswith(("../", "/")):
                raise DataError(f"{where} leaves the dataset: give a path below '{self.root}'")
            try:
                if (self.root / inside).is_file():
                    return self.root / inside
            except OSError as error:
                raise DataError(f"{where} cannot be looked up ({error.strerror}): correct the path") from error
        raise DataError(f"{where} does not exist below '{self.root}': add the picture or correct the path")

    def _candidates(self, pure: PurePosixPath) -> list[str]:
        text = pure.as_posix()
        if not pure.is_absolute():
            return [text]
        if text.startswith(f"{self.root.as_posix()}/"):
            return [text[len(self.root.as_posix()) + 1 :]]
        candidates = [text.rsplit(AUTHORS_ROOT, 1)[1]] if AUTHORS_ROOT in text else []
        ends = ["/".join(pure.parts[at:]) for at in range(1, len(pure.parts))]
        # A bare file name is no evidence, "0.png" could be any picture; only the placeholder lies at the top.
        return candidates + [end for end in ends if ".." not in end.split("/") and ("/" in end or end == BLACK)]


def _is_picture(file: Path) -> bool:
    shown_name = "mask" not in file.name and not file.name.startswith(".")
    return shown_name and file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()


def _place(loc: tuple[int | str, ...]) -> str:
    if loc and isinstance(loc[0], int):
        rest = ".".join(str(part) for part in loc[1:])
        return f"item {loc[0]}" + (f", {rest}" if rest else "")
    return ".".join(str(part) for part in loc) or "the content"


@cache
def _adapter(form: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(form)
