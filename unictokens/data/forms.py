"""The forms in which the official dataset's JSON files exist, read as they are and handed on in one form.

Files that are plainly in order are read by `quick` alone; here is what every form may be, and what is wrong with one.
Dialogues come as a list of `{"image", "conversations": [{"from", "value"}, ...]}`, as a list of
`{"image"?, "query" or "question", "answer"}`, or as an object `{image: [{"query", "answer"}, ...]}`; drawing conditions as
a list of texts or an object of such lists.
"""

from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import AliasChoices, Field
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from unictokens.data.folder import DatasetFolder, shown
from unictokens.data.quick import Item, quick_items
from unictokens.data.records import PLAIN_CONDITIONS, ExamKind, Kind
from unictokens.errors import DataError

EXAM_KINDS = ("rec", "vqa", "text_only")
"""Types of test questions that are kinds as they are."""
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

    @property
    def is_person(self) -> bool:
        """Whether questions about it are questions about somebody."""
        return self.conversation_type == "human"


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


def read_items(folder: DatasetFolder, path: str) -> list[Item] | None:
    """All items of a question file, in any known form and in order; None where there is no file.

    Raises DataError naming file, item, value and fix.
    """
    content = folder.content(path)
    if content is None:
        return None
    items = quick_items(content)
    return _items(folder, path, folder.parsed(path, content)) if items is None else items


def exam_kind(folder: DatasetFolder, path: str, number: int, said: str | None) -> ExamKind:
    """The kind of test question that an item's type means. Raises DataError for another type, and for none."""
    if said is not None and "choice" in said:
        return "choice"
    if said in EXAM_KINDS:
        return cast(ExamKind, said)
    raise DataError(
        f"'{folder.root / path}': item {number}, type is {shown(said)}: use rec, vqa, text_only or a word with 'choice'"
    )


def read_captions(folder: DatasetFolder, path: str) -> dict[str, str]:
    """Captions by file name of a photo; none without the file. Raises DataError."""
    content = folder.content(path)
    return {} if content is None else folder.check(path, folder.parsed(path, content), dict[str, str])


def read_conditions(folder: DatasetFolder, path: str) -> dict[str, tuple[str, ...]]:
    """Drawing conditions by group; a plain list is the group `PLAIN_CONDITIONS`. None without the file. Raises DataError."""
    content = folder.content(path)
    if content is None:
        return {}
    value = folder.parsed(path, content)
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


def _items(folder: DatasetFolder, path: str, value: Any) -> list[Item]:
    if isinstance(value, dict):
        by_image = folder.check(path, value, dict[str, list[RawPair]])
        asked = [(image, pair) for image, pairs in by_image.items() for pair in pairs]
        return [(number, (pair["question"], pair["answer"]), image, None) for number, (image, pair) in enumerate(asked)]
    # All items of a form are checked at once, as an object by number, so that messages count items as the file does.
    dialogues, pairs = {}, {}
    for number, item in enumerate(folder.check(path, value, list[Any])):
        (pairs if _is_pair(item) else dialogues)[number] = item
    items: list[Item] = [
        (number, _said(folder, path, number, item["conversations"]), item.get("image"), item.get("type"))
        for number, item in folder.check(path, dialogues, dict[int, RawDialogue]).items()
    ]
    items += [
        (number, (pair["question"], pair["answer"]), pair.get("image"), pair.get("type"))
        for number, pair in folder.check(path, pairs, dict[int, RawPair]).items()
    ]
    return sorted(items, key=itemgetter(0)) if dialogues and pairs else items


def _is_pair(item: Any) -> bool:
    return isinstance(item, dict) and "conversations" not in item and ("query" in item or "question" in item)


def _said(folder: DatasetFolder, path: str, number: int, turns: list[RawTurn]) -> tuple[str, ...]:
    if len(turns) % 2:
        raise DataError(f"'{folder.root / path}': item {number} has {len(turns)} turns: give every question one answer")
    if any(turn.get("speaker") not in (None, ("human", "gpt")[at % 2]) for at, turn in enumerate(turns)):
        raise _out_of_turn(folder, path, number, turns)
    return tuple(turn["value"] for turn in turns)


def _out_of_turn(folder: DatasetFolder, path: str, number: int, turns: list[RawTurn]) -> DataError:
    said = [(at, turn.get("speaker"), ("human", "gpt")[at % 2]) for at, turn in enumerate(turns)]
    at, speaker, expected = next(one for one in said if one[1] not in (None, one[2]))
    return DataError(
        f"'{folder.root / path}': item {number}, conversations.{at}.from is '{speaker}': "
        f"turns alternate and begin with 'human'; make it '{expected}'"
    )
