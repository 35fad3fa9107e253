"""A concept's files, read and checked, as texts and places: what a plan needs of it, and what its record is made from.

A plan of 100,000 concepts asks each for its digest alone; making objects of all that is said would take it twice as long.
"""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unictokens.data.digest import data_digest
from unictokens.data.folder import DatasetFolder
from unictokens.data.forms import ConceptInfo, exam_kind, read_captions, read_conditions, read_items
from unictokens.data.quick import Item
from unictokens.data.records import ConceptRecord, Dialogue, ExamKind, ExamQuestion, Exchange
from unictokens.errors import DataError

logger = logging.getLogger(__name__)

STAGES = ("stage_1", "stage_3")
LISTING = "concept/train/train_images.json"


class Asked(NamedTuple):
    """The items of a question file; none of a file that is not there."""

    file: str
    items: Sequence[Item] = ()


@dataclass(frozen=True, kw_only=True)
class ConceptSheet:
    """See `ConceptRecord`, whose pictures and dialogues are here as their places below the dataset's root and as items.

    kinds   of the examination's questions
    places  of pictures, by what the items call them; None for none
    """

    name: str
    root: Path
    info: ConceptInfo
    photos: tuple[str, ...]
    cropped: tuple[str, ...]
    hard_negatives: tuple[str, ...]
    stages: Mapping[str, Asked]
    conversations: Asked
    positives: Asked
    negatives: Asked
    exam: Asked
    kinds: tuple[ExamKind, ...]
    test_photos: tuple[str, ...]
    conditions: Mapping[str, tuple[str, ...]]
    captions: Mapping[str, str]
    places: Mapping[str | None, str | None]

    def digest(self, known: MutableMapping[str, str]) -> str:
        """The digest of the data (see `data_digest`, also for `known` and what it raises)."""
        pictures = dict.fromkeys((*self.photos, *self.cropped))
        said: list[object] = []
        stages = [self.stages[stage] for stage in sorted(self.stages)]
        for file, items in (self.positives, self.negatives, self.conversations, *stages):
            for number, texts, image, _ in items:
                place = self.places[image]
                said += (file, number, place)
                said += texts
                if place is not None:
                    pictures[place] = None
        info = self.info
        about = (self.name, info.cls, info.info, info.extra_info, info.is_person)
        return data_digest(self.name, about, said, pictures, self.captions, str(self.root), known)

    def record(self, strangers: tuple[Path, ...], black: Path | None) -> ConceptRecord:
        """The concept's record, with the pictures that all concepts share."""
        info = self.info
        paths: dict[str | None, Path | None] = {None: None}
        for place in self.places.values():
            if place is not None:
                paths[place] = self.root / place
        return ConceptRecord(
            name=self.name,
            root=self.root,
            cls=info.cls,
            info=info.info,
            facts=tuple(info.extra_info),
            is_person=info.is_person,
            kind=info.generation_type,
            photos=self._paths(self.photos),
            cropped=self._paths(self.cropped),
            hard_negatives=self._paths(self.hard_negatives),
            random_negatives=strangers,
            stages={stage: self._dialogues(asked, paths) for stage, asked in self.stages.items()},
            conversations=self._dialogues(self.conversations, paths),
            positives=self._dialogues(self.positives, paths),
            negatives=self._dialogues(self.negatives, paths),
            exam=tuple(
                ExamQuestion(kind, texts[0], texts[1], paths[self.places[image]], number)
                for kind, (number, texts, image, _) in zip(self.kinds, self.exam.items, strict=True)
            ),
            test_photos=self._paths(self.test_photos),
            conditions=self.conditions,
            captions=self.captions,
            black=black,
        )

    def _paths(self, places: Sequence[str]) -> tuple[Path, ...]:
        return tuple(self.root / place for place in places)

    def _dialogues(self, asked: Asked, paths: Mapping[str | None, Path | None]) -> tuple[Dialogue, ...]:
        return tuple(
            Dialogue(
                tuple(Exchange(*both) for both in zip(texts[::2], texts[1::2], strict=True)),
                paths[self.places[image]],
                asked.file,
                number,
            )
            for number, texts, image, _ in asked.items
        )


def read_sheet(folder: DatasetFolder, name: str, listed: Sequence[str] | None) -> ConceptSheet:
    """Read and check a concept's files; raises DataError with file, place, value and fix for the first thing wrong.

    listed  file names of its photos in order, None for all in its folder
    """
    train, test, places = f"concept/train/{name}", f"concept/test/{name}", _Places(folder)
    info = folder.read(f"{train}/info.json", ConceptInfo)
    photos = _photos(folder, places.listed(train), name, listed)
    cropped = places.listed(f"{train}/cropped")
    hard_negatives = places.listed(f"{train}/negative_example")
    stages = {stage: places.pictured(f"showo_training_data_{stage}/{name}.json") for stage in STAGES}
    conversations, positives, negatives = (
        places.asked(f"{train}/{kind}.json")
        for kind in ("conversations", "positive_recognitions", "random_recognitions")
    )
    test_photos = places.listed(test)
    exam = places.asked(f"test_data/{name}.json")
    return ConceptSheet(
        name=name,
        root=folder.root,
        info=info,
        photos=photos,
        cropped=cropped,
        hard_negatives=hard_negatives,
        stages={stage: asked for stage, asked in stages.items() if asked is not None},
        conversations=conversations,
        positives=positives,
        negatives=negatives,
        exam=exam,
        kinds=tuple([exam_kind(folder, exam.file, number, said) for number, _, _, said in exam.items]),
        test_photos=test_photos,
        conditions=read_conditions(folder, f"{test}/t2i_conditions.json"),
        captions=read_captions(folder, f"{train}/captions.json"),
        places=places.found,
    )


class _Places:
    """Question files of one concept; every picture that they name is looked for once."""

    def __init__(self, folder: DatasetFolder) -> None:
        self._folder = folder
        self.found: dict[str | None, str | None] = {None: None}

    def listed(self, path: str) -> tuple[str, ...]:
        """Places of the pictures in a folder: questions may name them as they are."""
        places = self._folder.places(path)
        self.found.update(zip(places, places, strict=True))
        return places

    def asked(self, path: str) -> Asked:
        """The file's items, none where there is no file."""
        return self._check(Asked(path, read_items(self._folder, path) or ()))

    def pictured(self, path: str) -> Asked | None:
        """The file's items that have a picture: the published training code leaves the others out as well. None: no file."""
        items = read_items(self._folder, path)
        if items is None:
            return None
        pictured = [item for item in items if item[2] is not None]
        if len(pictured) < len(items):
            logger.warning("%s: %d items without a picture are left out", path, len(items) - len(pictured))
        return self._check(Asked(path, pictured))

    def _check(self, asked: Asked) -> Asked:
        first = {image: number for number, _, image, _ in reversed(asked.items)}
        for image in sorted(first.keys() - self.found.keys(), key=first.__getitem__):
            assert image is not None
            self.found[image] = self._folder.place(image, asked.file, first[image])
        return asked


def _photos(folder: DatasetFolder, lying: tuple[str, ...], name: str, listed: Sequence[str] | None) -> tuple[str, ...]:
    photos, place, there = lying, f"concept/train/{name}", frozenset(lying)
    if listed is not None:
        wanted = [f"{place}/{file}" for file in listed]
        photos = tuple([each if each in there else folder.place(each, LISTING, at) for at, each in enumerate(wanted)])
    if not photos:
        raise DataError(f"concept '{name}' has no photos: put PNG or JPEG files into '{folder.root / place}'")
    return photos
