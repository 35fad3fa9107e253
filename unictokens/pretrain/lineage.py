"""How a base came to be: one record per run of the recipe that it went through, kept in its folder and told on its card."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unictokens.atomic import write_bytes
from unictokens.errors import CheckpointError
from unictokens.pretrain.recipe import Recipe

FILE = "lineage.json"


@dataclass(frozen=True)
class Run:
    """One run: the recipe's values, the fingerprint of the base that it made, and what else is worth knowing of it."""

    fingerprint: str
    recipe: dict[str, Any]
    note: str = ""

    @classmethod
    def of(cls, fingerprint: str, recipe: Recipe) -> "Run":
        """The record of a run that is over."""
        return cls(fingerprint, asdict(recipe))


def read_lineage(folder: Path) -> list[Run]:
    """Runs of a base, oldest first; empty where its folder tells nothing. Raises CheckpointError for a damaged file."""
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return [Run(**run) for run in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"lineage '{path}' is damaged ({error}): copy it again, or delete it") from error


def write_lineage(folder: Path, runs: Sequence[Run]) -> None:
    """Write the runs, oldest first, atomically."""
    write_bytes(folder / FILE, json.dumps([asdict(run) for run in runs], indent=1).encode())


def lineage_table(runs: Sequence[Run]) -> str:
    """The runs as a Markdown table, without its heading."""
    rows = []
    for number, run in enumerate(runs, start=1):
        codes, language = run.recipe["tokenizer"], run.recipe["language"]
        photos = run.recipe["shard"]
        rows.append(
            f"| {number} | {codes['steps']:,} of {codes['batch']} photos, out of {codes['shards'] * photos:,} "
            f"| {language['steps']:,} of {language['batch_generation']} drawings and {language['batch_understanding']} "
            f"conversations{_examples(language)}, out of {language['shards'] * photos:,} photos of anybody and "
            f"{language['resident_shards'] * photos:,} of residents | `{run.fingerprint[:16]}` |"
        )
    head = ["| run | steps of the image tokenizer | steps of the transformer | fingerprint |", "|---|---|---|---|"]
    notes = [f"\nRun {number}: {run.note}" for number, run in enumerate(runs, start=1) if run.note]
    return "\n".join([*head, *rows, *notes])


def _examples(language: dict[str, Any]) -> str:
    """Runs of before there were such lessons say nothing of them."""
    count = language.get("batch_examples", 0)
    return f" with {count} rows of examples" if count else ""
