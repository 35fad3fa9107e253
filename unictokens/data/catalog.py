"""A dataset in the official UniCTokens layout, opened and checked concept by concept.

Needed are `concept/train/<name>/` with photos and `info.json`; everything else is read when it is there. A broken
concept is refused when it is asked for and does not stand in the way of the others.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unictokens.concepts.names import check_name
from unictokens.data.folder import BLACK, DatasetFolder, shown
from unictokens.data.forms import read_template
from unictokens.data.records import ConceptRecord, Kind
from unictokens.data.sheet import LISTING, ConceptSheet, read_sheet
from unictokens.errors import ConceptError, DataError


@dataclass(frozen=True)
class Catalog:
    """The concepts of a dataset folder: `names` in the dataset's order."""

    folder: DatasetFolder
    names: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> "Catalog":
        """Open a dataset; raises DataError when it is no dataset folder or its list of concepts is malformed."""
        folder = DatasetFolder(root)
        if not root.is_dir():
            raise DataError(f"dataset '{root}' is no folder: check the path")
        if folder.has("concepts_list.json"):
            names = tuple(folder.read("concepts_list.json", list[str]))
        else:
            names = folder.folders("concept/train")
        if not names:
            raise DataError(f"dataset '{root}' has no concepts: put photos and info.json into concept/train/<name>/")
        seen: set[str] = set()
        for at, name in enumerate(names):
            try:
                check_name(name)
            except ConceptError as error:
                raise DataError(f"dataset '{root}', concept {at}: {error}") from error
            if name in seen:
                raise DataError(f"'{root / 'concepts_list.json'}': item {at} is {shown(name)} again: name it once")
            seen.add(name)
        return cls(folder, names)

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self.folder.root

    def select(self, names: str) -> tuple[str, ...]:
        """The concepts of a request: "all", or names with commas. Raises DataError for a name that is not there."""
        if names == "all":
            return self.names
        wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
        if not wanted:
            raise DataError(f"no concept in {shown(names)}: name some of {', '.join(self.names[:20])}, or 'all'")
        for name in wanted:
            self._require(name)
        return wanted

    def concept(self, name: str) -> ConceptRecord:
        """Everything about one concept; raises DataError with file, place, value and fix for the first thing wrong."""
        self._require(name)
        black = self.root / BLACK if self.folder.has(BLACK) else None
        return self._sheet(name).record(self._strangers, black)

    def digest(self, name: str, known: MutableMapping[str, str]) -> str:
        """`concept(name).digest()`, and the same errors, in half the time.

        known  digests of pictures that concepts share, by place below the root: read and filled
        """
        self._require(name)
        return self._sheet(name).digest(known)

    def templates(self) -> dict[str, tuple[str, ...]]:
        """Question wordings of `template.json` by group; empty without the file. Raises DataError."""
        return read_template(self.folder, "template.json") if self.folder.has("template.json") else {}

    def evaluation_prompts(self, kind: Kind) -> tuple[str, ...]:
        """Drawing prompts of `prompts_to_eval.json` for a kind of concept, "<sks>" where it stands; none without the file.

        Raises DataError for a file without this kind.
        """
        path = "prompts_to_eval.json"
        if not self.folder.has(path):
            return ()
        by_kind = self.folder.read(path, dict[str, list[str]])
        if kind not in by_kind:
            raise DataError(f"'{self.root / path}' has no prompts under '{kind}': add them, or delete the file")
        return tuple(by_kind[kind])

    # What all concepts share is read once: there may be 100,000 of them.

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        return self.folder.read(LISTING, dict[str, list[str]]) if self.folder.has(LISTING) else {}

    @cached_property
    def _strangers(self) -> tuple[Path, ...]:
        return self.folder.pictures("random_images")

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    def _require(self, name: str) -> None:
        if name not in self._known:
            known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            raise DataError(f"dataset '{self.root}' has no concept {shown(name)}: choose from {known}")

    def _sheet(self, name: str) -> ConceptSheet:
        listed = self._listed.get(name)
        if listed is not None:
            listed = [file for file in listed if "mask" not in file.rpartition("/")[2]]
        return read_sheet(self.folder, name, listed)
