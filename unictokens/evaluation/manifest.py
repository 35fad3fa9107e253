"""Everything that was asked, said, drawn and judged in one examination, on disk as it happens.

    manifest.json     what was examined: concept, backbone, data, settings (see `Header`)
    answers.jsonl     an `Answer` a line
    drawings.jsonl    a `Drawing` a line; images/ has their PNGs
    verdicts.jsonl    a `Verdict` a line, with the judge's raw words
    measures.jsonl    a `Measure` a line, what an encoder says of one picture

Scores are computed from these files alone, so they can be computed again without the model. What is there is not made again:
an examination that was interrupted goes on.
"""

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from unictokens.atomic import storage_error, write_bytes, write_json
from unictokens.errors import DataError
from unictokens.replay.trace import Trace

FORMAT = 1
STRICT = ConfigDict(extra="forbid")
Group = Literal["pure", "knowledge", "portrait"]
"""Drawings of the evaluation prompts, of prompts that need the facts, and of "A photo of <name>."."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What was examined. `created` is UTC, ISO 8601; two examinations with equal headers but for it are the same one."""

    __pydantic_config__ = STRICT
    format: int = FORMAT
    contender: str
    concept: str
    version: int | None
    backbone: str
    fingerprint: str
    dataset_digest: str
    mode: Literal["correct", "paper_compat"]
    settings: dict[str, Any] = field(default_factory=dict)
    library: str
    created: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to question `number` of a kind; `image` is relative to the dataset, None without a picture."""

    __pydantic_config__ = STRICT
    kind: Literal["rec", "vqa", "text_only", "choice"]
    number: int
    question: str
    image: str | None
    expected: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture of a prompt; `file` is in images/. With a `trace`, its prompt was drawn in place of the one asked for."""

    __pydantic_config__ = STRICT
    group: Group
    prompt: str
    seed: int
    file: str
    trace: Trace | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judge's score of `subject` (an answer's "vqa 3", a drawing's file), with its words, model and date."""

    __pydantic_config__ = STRICT
    judge: str
    subject: str
    score: Annotated[float, Field(ge=0.0, le=1.0)]
    raw: str
    created: str = ""


Metric = Literal["clip-i", "clip-t", "dino", "face"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How similar `subject` (a drawing's file, or a training photo's path in the dataset) is to its references.

    encoder  with the hash of its weights, see `PictureEncoder.name`
    value    a cosine in [-1, 1]; None where there is none, and then `why`
    mode     "correct" or "paper_compat", see `similarity`
    The subject `ALL` with a reason says that the whole metric could not be measured.
    """

    __pydantic_config__ = STRICT
    encoder: str
    metric: Metric
    mode: Literal["correct", "paper_compat"]
    subject: str
    value: Annotated[float, Field(ge=-1.001, le=1.001)] | None
    why: str = ""
    created: str = ""


ALL = "*"
Entry = TypeVar("Entry", Answer, Drawing, Verdict, Measure)
FILES: Mapping[type, str] = {
    Answer: "answers.jsonl",
    Drawing: "drawings.jsonl",
    Verdict: "verdicts.jsonl",
    Measure: "measures.jsonl",
}


class Manifest:
    """The files of one examination in a folder."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.header = header
        self.answers = self._read(Answer)
        self.drawings = self._read(Drawing)
        self.verdicts = self._read(Verdict)
        self.measures = self._read(Measure)

    @classmethod
    def begin(cls, folder: Path, header: Header) -> "Manifest":
        """Begin an examination or go on with this very one.

        Raises DataError when the folder holds another one, StorageError when it cannot be written.
        """
        path = folder / "manifest.json"
        if path.exists():
            found = cls.open(folder)
            if _settled(found.header) != _settled(header):
                raise DataError(f"'{path}' belongs to another examination: choose another folder, or delete this one")
            return found
        write_json(path, dataclasses.asdict(header))
        return cls(folder, header)

    @classmethod
    def open(cls, folder: Path) -> "Manifest":
        """An examination on disk. Raises DataError for none, for a damaged one and for one of another format."""
        path = folder / "manifest.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"'{path}' does not exist: name the folder of an examination") from error
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' is not readable ({error}): examine the concept again") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            said = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise DataError(f"'{path}' has format {said!r}, this version reads {FORMAT}: examine the concept again")
        return cls(folder, _parse(Header, values, path))

    def add(self, entries: Iterable[Entry]) -> None:
        """Write entries at the end of their file. Raises StorageError."""
        lists: dict[type, list[Any]] = {
            Answer: self.answers,
            Drawing: self.drawings,
            Verdict: self.verdicts,
            Measure: self.measures,
        }
        for entry in entries:
            path = self.folder / FILES[type(entry)]
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(dataclasses.asdict(entry)) + "\n")
            except OSError as error:
                raise storage_error(error, path) from error
            lists[type(entry)].append(entry)

    def add_drawing(
        self, group: Group, prompt: str, seed: int, picture: Image.Image, trace: Trace | None = None
    ) -> None:
        """Keep a picture. Raises StorageError."""
        file = f"{group}-{len(self.drawings):04d}.png"
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        write_bytes(self.folder / "images" / file, buffer.getvalue())
        self.add([Drawing(group=group, prompt=prompt, seed=seed, file=file, trace=trace)])

    def image(self, drawing: Drawing) -> Path:
        """Where a drawing's picture lies."""
        return self.folder / "images" / drawing.file

    def verdict(self, judge: str, subject: str) -> Verdict | None:
        """What a judge said of a subject, None when it was not asked yet."""
        return next((each for each in self.verdicts if (each.judge, each.subject) == (judge, subject)), None)

    def _read(self, kind: type[Entry]) -> list[Entry]:
        path = self.folder / FILES[kind]
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line) if line.strip() else None
            except ValueError as error:
                if number == len(lines):  # torn when an examination was killed: it is made again
                    write_bytes(path, b"\n".join(lines[:-1]) + b"\n")
                    break
                raise DataError(f"'{path}' line {number} is damaged: delete that line and examine again") from error
            if values is not None:
                found.append(_parse(kind, values, path))
        return found


def _settled(header: Header) -> Header:
    return dataclasses.replace(header, created="", library="")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    # Making one takes a hundred times longer than reading a line with it.
    return TypeAdapter(kind)


def _parse(kind: type[Any], values: Any, path: Path) -> Any:
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"'{path}': {where}: {first['msg'].lower()}: examine the concept again") from error
