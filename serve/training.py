"""Teaching a concept from uploaded photos: what the API knows of whoever trains, and the state of a run on disk.

<concept folder>/runs/<run id>/status.json   a `RunState`
<concept folder>/runs/<run id>/data/         the photos and facts as a dataset
<concept folder>/runs/<run id>/out/          what training writes, removed at the end
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from serve.pictures import encode_png
from unictokens.atomic import storage_error, write_bytes, write_json
from unictokens.errors import StorageError
from unictokens.tracking.jsonl import read_events

Status = Literal["queued", "running", "finished", "failed", "cancelled"]
STATUS_FILE = "status.json"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a user says about a concept; facts are sentences that may contain `<name>`."""

    name: str
    class_word: str
    info: str
    facts: tuple[str, ...] = ()
    person: bool = False


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A training run as it stands; times in seconds since 1970, `version` the published one."""

    id: str
    concept: str
    status: Status = "queued"
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    version: int | None = None
    error: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ("finished", "failed", "cancelled")


@dataclass(frozen=True)
class RunFolder:
    """One run's files; `path` is `<concept folder>/runs/<run id>`."""

    path: Path

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.path / "data"

    @property
    def output(self) -> Path:
        """Where training writes."""
        return self.path / "out"

    def read(self) -> RunState | None:
        """The run's state, or None when there is no such run. Raises StorageError for a damaged file."""
        path = self.path / STATUS_FILE
        try:
            return RunState(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, path, "read") from error
        except (ValueError, TypeError) as error:
            raise StorageError(f"'{path}' is damaged ({error}): delete the run's folder") from error

    def write(self, state: RunState) -> RunState:
        """Keep a state. Raises StorageError."""
        write_json(self.path / STATUS_FILE, asdict(state))
        return state

    def change(self, **values: Any) -> RunState:
        """Replace some fields of the state. Raises StorageError when there is none."""
        state = self.read()
        if state is None:
            raise StorageError(f"'{self.path}' holds no run: it was deleted meanwhile")
        return self.write(replace(state, **values))

    def progress(self) -> dict[str, Any]:
        """The last numbers that training told: `step` and `losses`; empty before the first."""
        folders = sorted((self.output / "runs").glob("*/events.jsonl"))
        if not folders:
            return {}
        told = [event for event in read_events(folders[-1].parent) if event.get("event") == "metrics"]
        return {"step": told[-1]["step"], "losses": told[-1]["values"]} if told else {}


def run_folders(concept_folder: Path) -> tuple[RunFolder, ...]:
    """The runs of a concept, in no particular order."""
    return tuple(RunFolder(path.parent) for path in (concept_folder / "runs").glob(f"*/{STATUS_FILE}"))


def write_lesson(folder: RunFolder, profile: Profile, photos: Sequence[Image.Image]) -> None:
    """The dataset of a run, in the official layout: photos as PNG without metadata, and info.json. Raises StorageError."""
    home = folder.data / "concept" / "train" / profile.name
    for number, photo in enumerate(photos):
        write_bytes(home / f"{number}.png", encode_png(photo))
    info = {
        "class": profile.class_word,
        "info": profile.info,
        "extra_info": list(profile.facts),
        "conversation_type": "human" if profile.person else "object",
        "generation_type": "live_subject" if profile.person else "object",
    }
    write_json(home / "info.json", info)
    write_json(folder.data / "concepts_list.json", [profile.name])


class Trainer(Protocol):
    """Whoever trains: takes a run whose lesson is written and keeps its state up to date."""

    def start(self, folder: RunFolder, store: Path, name: str) -> None:
        """Queue a run; what it learns is published in the store at `store`. Raises StorageError, Refusal when too busy."""
        ...

    def cancel(self, folder: RunFolder) -> None:
        """End a run; when this returns nothing of it is running or writes any more."""
        ...


@dataclass
class NoTrainer:
    """An endpoint that only serves: every run fails with the reason."""

    reason: str = "this endpoint does not train: use python -m cluster train"
    started: list[RunFolder] = field(default_factory=list)

    def start(self, folder: RunFolder, store: Path, name: str) -> None:
        folder.change(status="failed", error=self.reason)
        self.started.append(folder)

    def cancel(self, folder: RunFolder) -> None:
        return None
