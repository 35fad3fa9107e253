"""A concept's data as typed, frozen records; `catalog` makes them from a folder and checks everything on the way.

All paths are of existing files below the dataset's root. Texts keep the dataset's placeholder `<name>` for the concept and
`<image>` for the picture; `samples` turns them into prompts.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unictokens.data.digest import data_digest
from unictokens.errors import DataError

Kind = Literal["object", "live_subject"]
ExamKind = Literal["rec", "vqa", "text_only", "choice"]
IMAGE_MARK = "<image>"
PLAIN_CONDITIONS = "conditions"
"""Key of drawing conditions that came as a plain list."""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, as written in the dataset."""

    question: str
    answer: str


@dataclass(frozen=True)
class Dialogue:
    """A conversation about one picture, or about none; `number` is its place in `file`, counted from 0."""

    exchanges: tuple[Exchange, ...]
    image: Path | None
    file: str = ""
    number: int = 0


@dataclass(frozen=True)
class ExamQuestion:
    """A test question. A recognition question's answer is "No." for a negative, anything else for a positive."""

    kind: ExamKind
    question: str
    answer: str
    image: Path | None
    number: int = 0

    @property
    def text(self) -> str:
        """The question without its mark of where the picture stands."""
        return self.question.replace(IMAGE_MARK, "").strip()

    @property
    def positive(self) -> bool:
        """Whether the concept is in the picture of a recognition question."""
        return self.answer.strip() != "No."


@dataclass(frozen=True, kw_only=True)
class ConceptRecord:
    """Everything a dataset says about one concept.

    cls, info, facts   class word, "<name> is ...", and the facts that no photo shows
    is_person, kind    the two tags of `info.json`; kind decides which evaluation prompts fit
    photos, cropped    training photos in the order of `train_images.json`, and their crops (maybe none)
    hard_negatives     pictures of look-alikes; `random_negatives` of anything else
    stages             understanding items by stage file ("stage_1", "stage_3"); items without picture are left out
    conversations, positives, negatives   the dataset's raw material for those files
    exam               test questions; `test_photos` their pictures of the concept
    conditions         knowledge-driven drawing prompts by group (a plain list is the group `PLAIN_CONDITIONS`)
    captions           caption by file name of a photo
    black              the black placeholder picture of text-only questions
    """

    name: str
    root: Path
    cls: str
    info: str
    photos: tuple[Path, ...]
    facts: tuple[str, ...] = ()
    is_person: bool = False
    kind: Kind = "object"
    cropped: tuple[Path, ...] = ()
    hard_negatives: tuple[Path, ...] = ()
    random_negatives: tuple[Path, ...] = ()
    stages: Mapping[str, tuple[Dialogue, ...]] = field(default_factory=dict)
    conversations: tuple[Dialogue, ...] = ()
    positives: tuple[Dialogue, ...] = ()
    negatives: tuple[Dialogue, ...] = ()
    exam: tuple[ExamQuestion, ...] = ()
    test_photos: tuple[Path, ...] = ()
    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    black: Path | None = None

    def understanding(self, stage: str) -> tuple[Dialogue, ...]:
        """Items of a stage file, "stage_1" or "stage_3". Raises DataError when the dataset has no such file."""
        if stage not in self.stages:
            file = f"showo_training_data_{stage}/{self.name}.json"
            raise DataError(
                f"dataset '{self.root}' has no {file}: make it with 'python -m unictokens data questions {self.root}'"
            )
        return self.stages[stage]

    def drawings(self, source: str) -> tuple[Path, ...]:
        """Pictures to learn drawing from, sorted by name: "photos" or "cropped". Raises DataError when there is none."""
        pictures = self.cropped if source == "cropped" else self.photos
        if not pictures:
            raise DataError(
                f"concept '{self.name}' has no {source} pictures in '{self.root}': add them to "
                f"concept/train/{self.name}/{source}, or use the setting generation=photos"
            )
        return tuple(sorted(pictures, key=lambda picture: picture.name))

    def knowledge_conditions(self) -> tuple[str, ...]:
        """The drawing prompts that need to know the facts: all but the first, plain one of a list.

        Raises DataError when a plain list does not start with "A photo of <name>.", as the published evaluation needs.
        """
        prompts: list[str] = []
        for group, texts in self.conditions.items():
            if group == PLAIN_CONDITIONS:
                plain = f"A photo of <{self.name}>."
                if texts[:1] != (plain,):
                    raise DataError(
                        f"concept/test/{self.name}/t2i_conditions.json starts with {str(texts[:1])[:80]}: "
                        f"its first entry must be '{plain}'"
                    )
                texts = texts[1:]
            prompts.extend(texts)
        return tuple(prompts)

    def digest(self, known: MutableMapping[str, str] | None = None) -> str:
        """The digest of everything that training can read (see `data_digest`, also for `known` and what it raises)."""
        root = len((self.root / "-").as_posix()) - 1
        places = {picture: picture.as_posix()[root:] for picture in (*self.photos, *self.cropped)}
        said: list[object] = []
        dialogues = [*self.positives, *self.negatives, *self.conversations]
        for stage in sorted(self.stages):
            dialogues += self.stages[stage]
        for dialogue in dialogues:
            image, place = dialogue.image, None
            if image is not None and (place := places.get(image)) is None:
                place = places[image] = image.as_posix()[root:]
            said += (dialogue.file, dialogue.number, place)
            for exchange in dialogue.exchanges:
                said += (exchange.question, exchange.answer)
        about = (self.name, self.cls, self.info, self.facts, self.is_person)
        return data_digest(
            self.name, about, said, places.values(), self.captions, str(self.root), {} if known is None else known
        )
