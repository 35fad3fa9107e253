"""The forms in which the official dataset's JSON files exist, read as they are and handed on in one form.

Dialogues come as a list of `{"image", "conversations": [{"from", "value"}, ...]}`, as a list of
`{"image"?, "query" or "question", "answer"}`, or as an object `{image: [{"query", "answer"}, ...]}`; drawing conditions as
a list of texts or an object of such lists.
"""

import logging
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AliasChoices, Field
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

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


class RawTurn(TypedDict):
    """One utterance; test files leave `from` out."""

    value: str
    speaker: Annotated[NotRequired[Literal["human", "gpt"] | None], Field(validation_alias="from")]


class RawDialogue(TypedDict):
    """An item of a stage or test file."""

    conversations: Annotated[list[RawTurn], Field(min_length=2)]
    image: NotRequired[str | None]
    type: NotRequired[str | None]


class RawPair(TypedDict):
    """A question and its answer without the dialogue around them."""

    question: Annotated[str, Field(validation_alias=AliasChoices("query", "question"))]
    answer: str
    image: NotRequired[str | None]
    type: NotRequired[str | None]


Item = tuple[int, tuple[Exchange, ...], str | None, str | None]
"""A checked item of any form: its place in the file, counted from 0, what is said, its picture, its type."""


def read_dialogues(folder: DatasetFolder, path: str, need_picture: bool = False) -> tuple[Dialogue, ...]:
    """All dialogues of a JSON file, in any known form.

    With `need_picture`, items without a picture are left out, as the published training code does (logged with their
    count). Raises DataError naming file, item, value and fix.
    """
    items = _items(folder, path)
    dialogues = [
        Dialogue(exchanges, None if image is None else folder.picture(image, path, number), path, number)
        for number, exchanges, image, _ in items
        if image is not None or not need_picture
    ]
    if len(dialogues) < len(items):
        logger.warning("%s: %d items without a picture are left out", path, len(items) - len(dialogues))
    return tuple(dialogues)


def read_exam(folder: DatasetFolder, path: str, default: ExamKind | None = None) -> tuple[ExamQuestion, ...]:
    """The questions of a test file; `default` is the kind of items that name none. Raises DataError."""
    questions = []
    for number, exchanges, name, said in _items(folder, path):
        image = None if name is None else folder.picture(name, path, number)
        kind = _exam_kind(folder, path, number, said or default)
        questions.append(ExamQuestion(kind, exchanges[0].question, exchanges[0].answer, image, number))
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


def _items(folder: DatasetFolder, path: str) -> list[Item]:
    value = folder.json(path)
    if isinstance(value, dict):
        by_image = folder.check(path, value, dict[str, list[RawPair]])
        asked = [(image, pair) for image, pairs in by_image.items() for pair in pairs]
        return [
            (number, (Exchange(pair["question"], pair["answer"]),), image, None)
            for number, (image, pair) in enumerate(asked)
        ]
    # All items of a form are checked at once, as an object by number, so that messages count items as the file does.
    dialogues, pairs = {}, {}
    for number, item in enumerate(folder.check(path, value, list[Any])):
        (pairs if _is_pair(item) else dialogues)[number] = item
    items: list[Item] = [
        (number, _exchanges(folder, path, number, item["conversations"]), item.get("image"), item.get("type"))
        for number, item in folder.check(path, dialogues, dict[int, RawDialogue]).items()
    ]
    items += [
        (number, (Exchange(pair["question"], pair["answer"]),), pair.get("image"), pair.get("type"))
        for number, pair in folder.check(path, pairs, dict[int, RawPair]).items()
    ]
    return sorted(items, key=itemgetter(0)) if dialogues and pairs else items


def _is_pair(item: Any) -> bool:
    return isinstance(item, dict) and "conversations" not in item and ("query" in item or "question" in item)


def _exchanges(folder: DatasetFolder, path: str, number: int, turns: list[RawTurn]) -> tuple[Exchange, ...]:
    if len(turns) % 2:
        raise DataError(f"'{folder.root / path}': item {number} has {len(turns)} turns: give every question one answer")
    exchanges = []
    both = iter(turns)
    for question, answer in zip(both, both, strict=True):
        if question.get("speaker") not in (None, "human") or answer.get("speaker") not in (None, "gpt"):
            raise _out_of_turn(folder, path, number, turns)
        exchanges.append(Exchange(question["value"], answer["value"]))
    return tuple(exchanges)


def _out_of_turn(folder: DatasetFolder, path: str, number: int, turns: list[RawTurn]) -> DataError:
    said = [(at, turn.get("speaker"), ("human", "gpt")[at % 2]) for at, turn in enumerate(turns)]
    at, speaker, expected = next(one for one in said if one[1] not in (None, one[2]))
    return DataError(
        f"'{folder.root / path}': item {number}, conversations.{at}.from is '{speaker}': "
        f"turns alternate and begin with 'human'; make it '{expected}'"
    )


def _exam_kind(folder: DatasetFolder, path: str, number: int, kind: str | None) -> ExamKind:
    if kind is not None and "choice" in kind:
        return "choice"
    if kind in ("rec", "vqa", "text_only"):
        return kind
    raise DataError(
        f"'{folder.root / path}': item {number}, type is {shown(kind)}: use rec, vqa, text_only or a word with 'choice'"
    )
