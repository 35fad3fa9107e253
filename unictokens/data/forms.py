"""The forms in which the official dataset's JSON files exist, read as they are and handed on in one form.

Dialogues come as a list of `{"image", "conversations": [{"from", "value"}, ...]}`, as a list of
`{"image"?, "query" or "question", "answer"}`, or as an object `{image: [{"query", "answer"}, ...]}`; drawing conditions as
a list of texts or an object of such lists.
"""

import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from unictokens.data.folder import DatasetFolder, shown
from unictokens.data.records import PLAIN_CONDITIONS, Dialogue, ExamKind, ExamQuestion, Exchange, Kind
from unictokens.errors import DataError

logger = logging.getLogger(__name__)

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class ConceptInfo:
    """`info.json`; the two tags default to an object that is no person."""

    cls: Annotated[str, Field(validation_alias="class", min_length=1)]
    info: Text
    extra_info: list[Text] = Field(default_factory=list)
    conversation_type: str = "object"
    generation_type: Kind = "object"
    num_testing_info: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True)
class RawTurn:
    """One utterance; test files leave `from` out."""

    value: str
    speaker: Annotated[Literal["human", "gpt"] | None, Field(validation_alias="from")] = None


@dataclass(frozen=True)
class RawDialogue:
    """An item of a stage or test file."""

    conversations: Annotated[list[RawTurn], Field(min_length=2)]
    image: str | None = None
    type: str | None = None


@dataclass(frozen=True)
class RawPair:
    """A question and its answer without the dialogue around them."""

    question: Annotated[str, Field(validation_alias=AliasChoices("query", "question"))]
    answer: str
    image: str | None = None
    type: str | None = None


def read_dialogues(folder: DatasetFolder, path: str, need_picture: bool = False) -> tuple[Dialogue, ...]:
    """All dialogues of a JSON file, in any known form.

    With `need_picture`, items without a picture are left out, as the published training code does (logged with their
    count). Raises DataError naming file, item, value and fix.
    """
    items = _raw_items(folder, path)
    dialogues = [
        Dialogue(
            _exchanges(folder, path, number, item),
            None if item.image is None else folder.picture(item.image, path, number),
            path,
            number,
        )
        for number, item in items
        if item.image is not None or not need_picture
    ]
    if len(dialogues) < len(items):
        logger.warning("%s: %d items without a picture are left out", path, len(items) - len(dialogues))
    return tuple(dialogues)


def read_exam(folder: DatasetFolder, path: str, default: ExamKind | None = None) -> tuple[ExamQuestion, ...]:
    """The questions of a test file; `default` is the kind of items that name none. Raises DataError."""
    questions = []
    for number, item in _raw_items(folder, path):
        exchange = _exchanges(folder, path, number, item)[0]
        image = None if item.image is None else folder.picture(item.image, path, number)
        kind = _exam_kind(folder, path, number, item.type or default)
        questions.append(ExamQuestion(kind, exchange.question, exchange.answer, image, number))
    return tuple(questions)


def read_conditions(folder: DatasetFolder, path: str) -> dict[str, tuple[str, ...]]:
    """Drawing conditions by group; a plain list is the group `PLAIN_CONDITIONS`. Raises DataError."""
    value = folder.json(path)
    if isinstance(value, dict):
        return {group: tuple(texts) for group, texts in folder.check(path, value, dict[str, list[Text]]).items()}
    return {PLAIN_CONDITIONS: tuple(folder.check(path, value, list[Text]))}


def read_template(folder: DatasetFolder, path: str) -> dict[str, tuple[str, ...]]:
    """Question wordings by group from `template.json`; groups that are not lists of texts are left out. Raises DataError."""
    value = folder.json(path)
    if isinstance(value, list):
        return {"recognition": tuple(folder.check(path, value, list[Text]))}
    groups = folder.check(path, value, dict[str, Any])
    return {
        name: tuple(texts)
        for name, texts in groups.items()
        if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
    }


def _raw_items(folder: DatasetFolder, path: str) -> list[tuple[int, RawDialogue | RawPair]]:
    value = folder.json(path)
    if isinstance(value, dict):
        by_image = folder.check(path, value, dict[str, list[RawPair]])
        pairs = [RawPair(pair.question, pair.answer, image) for image, some in by_image.items() for pair in some]
        return list(enumerate(pairs))
    items = folder.check(path, value, list[dict[str, Any]])
    read: list[tuple[int, RawDialogue | RawPair]] = []
    for number, item in enumerate(items):
        form = RawPair if "conversations" not in item and {"query", "question"} & item.keys() else RawDialogue
        read.append((number, _one(folder, path, number, item, form)))
    return read


def _one(
    folder: DatasetFolder, path: str, number: int, item: dict[str, Any], form: type[RawPair] | type[RawDialogue]
) -> RawDialogue | RawPair:
    # Checked as the value of an object, so that the message counts items as the file does.
    return folder.check(path, {number: item}, dict[int, form])[number]


def _exchanges(folder: DatasetFolder, path: str, number: int, item: RawDialogue | RawPair) -> tuple[Exchange, ...]:
    if isinstance(item, RawPair):
        return (Exchange(item.question, item.answer),)
    turns = item.conversations
    for at, turn in enumerate(turns):
        expected = ("human", "gpt")[at % 2]
        if turn.speaker not in (None, expected):
            raise DataError(
                f"'{folder.root / path}': item {number}, conversations.{at}.from is '{turn.speaker}': "
                f"turns alternate and begin with 'human'; make it '{expected}'"
            )
    if len(turns) % 2:
        raise DataError(f"'{folder.root / path}': item {number} has {len(turns)} turns: give every question one answer")
    return tuple(Exchange(turns[at].value, turns[at + 1].value) for at in range(0, len(turns), 2))


def _exam_kind(folder: DatasetFolder, path: str, number: int, kind: str | None) -> ExamKind:
    if kind is not None and "choice" in kind:
        return "choice"
    if kind in ("rec", "vqa", "text_only"):
        return kind
    raise DataError(
        f"'{folder.root / path}': item {number}, type is {shown(kind)}: use rec, vqa, text_only or a word with 'choice'"
    )
