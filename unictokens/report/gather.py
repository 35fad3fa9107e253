"""What the folders of a training output say about each concept, as plain records for the page."""

import json
import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unictokens.atomic import storage_error
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.errors import StorageError, UniCTokensError
from unictokens.evaluation.recognition import Recognition

log = logging.getLogger(__name__)

PREVIEW_NAME = re.compile(r"([a-z_]+)_(\d+)_(\d+)\.png")
PERCEPTION_NAME = re.compile(r"([a-z_]+)_(\d+)_([a-z]+)\.png")


@dataclass(frozen=True)
class EpochLosses:
    """Mean losses of one epoch; `number` counts stages from 0."""

    number: int
    stage: str
    epoch: int
    losses: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Preview:
    """A picture drawn after an epoch; the same `number` had the same seed in every epoch."""

    stage: str
    epoch: int
    number: int
    file: Path


@dataclass(frozen=True)
class Answer:
    """A question answered after an epoch."""

    stage: str
    epoch: int
    question: str
    photo: str
    answer: str


@dataclass(frozen=True)
class Glimpse:
    """One picture drawn by perception, at its moments ("early", "late", "final", "region")."""

    stage: str
    number: int
    moments: dict[str, Path]


@dataclass(frozen=True)
class Shown:
    """Something asked or drawn after training: a question and its answer, or a prompt and its pictures."""

    concept: str
    text: str
    answer: str = ""
    photo: Path | None = None
    expected: str = ""
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Recognised:
    """Recognition scores in [0, 1] on test photos, with the concept's tokens and without."""

    learned: float
    bare: float


@dataclass(frozen=True, kw_only=True)
class ConceptStory:
    """Everything about one concept of an output; `row` is its line in the job's summary, empty without one."""

    concept: str
    folder: Path | None
    row: dict[str, Any] = field(default_factory=dict)
    record: ConceptRecord | None = None
    history: tuple[EpochLosses, ...] = ()
    previews: tuple[Preview, ...] = ()
    answers: tuple[Answer, ...] = ()
    glimpses: tuple[Glimpse, ...] = ()
    shown: tuple[Shown, ...] = ()
    recognised: Recognised | None = None


@dataclass(frozen=True)
class OutputStory:
    """A whole output: `summary` is the job's own file, empty for concepts trained one by one."""

    root: Path
    summary: dict[str, Any]
    concepts: tuple[ConceptStory, ...]


def gather(root: Path, data: Path | None) -> OutputStory:
    """Read an output folder; `data` is its dataset, for photos and sentences.

    Raises StorageError when there is nothing to report or a file is damaged.
    """
    summary = _read_json(root / "summary.json") if (root / "summary.json").exists() else {}
    rows: dict[str, dict[str, Any]] = {row["concept"]: row for row in summary.get("rows", [])}
    folders = {folder.name.rpartition("-")[0]: folder for folder in _run_folders(root)}
    folders |= {row["concept"]: root / "runs" / row["run"] for row in rows.values() if row.get("run")}
    names = list(dict.fromkeys([*rows, *sorted(folders)]))
    if not names:
        raise StorageError(f"'{root}' holds no runs to report on: name the --out folder of a training")
    catalog = _catalog(data)
    shown, recognised = _showcase(root)
    stories = [_story(name, folders.get(name), rows.get(name, {}), catalog) for name in names]
    return OutputStory(
        root,
        summary,
        tuple(
            replace(
                story,
                shown=tuple(one for one in shown if one.concept == story.concept),
                recognised=recognised.get(story.concept),
            )
            for story in stories
        ),
    )


def _story(name: str, folder: Path | None, row: dict[str, Any], catalog: Catalog | None) -> ConceptStory:
    record = _record(catalog, name)
    if folder is None or not folder.is_dir():
        return ConceptStory(concept=name, folder=None, row=row, record=record)
    return ConceptStory(
        concept=name,
        folder=folder,
        row=row,
        record=record,
        history=tuple(
            EpochLosses(line["number"], line["stage"], line["epoch"], line["losses"], line["seconds"])
            for line in _read_lines(folder / "history.jsonl")
        ),
        previews=_previews(folder / "previews"),
        answers=tuple(
            Answer(line["stage"], line["epoch"], line["question"], line.get("photo") or "", line["answer"])
            for line in _read_lines(folder / "answers.jsonl")
            if "answer" in line
        ),
        glimpses=_glimpses(folder / "perception"),
    )


def _previews(folder: Path) -> tuple[Preview, ...]:
    found = [(match, path) for path in _files(folder) if (match := PREVIEW_NAME.fullmatch(path.name))]
    return tuple(Preview(match[1], int(match[2]), int(match[3]), path) for match, path in found)


def _glimpses(folder: Path) -> tuple[Glimpse, ...]:
    by_picture: dict[tuple[str, int], dict[str, Path]] = {}
    for path in _files(folder):
        if match := PERCEPTION_NAME.fullmatch(path.name):
            by_picture.setdefault((match[1], int(match[2])), {})[match[3]] = path
    return tuple(Glimpse(stage, number, moments) for (stage, number), moments in sorted(by_picture.items()))


def _showcase(root: Path) -> tuple[tuple[Shown, ...], dict[str, Recognised]]:
    path = root / "showcase" / "showcase.json"
    if not path.exists():
        return (), {}
    story = _read_json(path)
    shown = tuple(
        Shown(
            concept=item["concept"],
            text=item["text"],
            answer=item.get("answer", ""),
            photo=path.parent / item["photo"] if item.get("photo") else None,
            expected=item.get("expected", ""),
            pictures=tuple(path.parent / picture for picture in item.get("pictures", [])),
        )
        for item in story["items"]
    )
    scores = story.get("recognition", {})
    return shown, {
        name: Recognised(Recognition(**both["with"]).score, Recognition(**both["without"]).score)
        for name, both in scores.items()
    }


def _run_folders(root: Path) -> list[Path]:
    runs = root / "runs"
    return sorted((path for path in runs.iterdir() if path.is_dir()), key=_age) if runs.is_dir() else []


def _age(folder: Path) -> float:
    return folder.stat().st_mtime


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png")) if folder.is_dir() else []


def _catalog(data: Path | None) -> Catalog | None:
    return None if data is None else Catalog.open(data)


def _record(catalog: Catalog | None, name: str) -> ConceptRecord | None:
    # A concept with broken data is in the report because it is broken.
    try:
        return None if catalog is None else catalog.concept(name)
    except UniCTokensError as error:
        log.info("no photos of '%s' in the report: %s", name, error)
        return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValueError as error:
        raise StorageError(f"'{path}' is not JSON ({error}): remove it and write the report again") from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValueError as error:
        raise StorageError(f"'{path}' is damaged ({error}): remove it and write the report again") from error
