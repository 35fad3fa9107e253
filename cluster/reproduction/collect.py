"""From examinations on disk to a table: numbers by concept and seed, their means and intervals, the verdicts of the claims."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.reproduction.table import Column, Table, Variant
from cluster.reproduction.tasks import ABILITY_FILE, JUDGE, ExamTask, Place
from unictokens.errors import DataError, StorageError
from unictokens.evaluation.ability import AbilitySettings
from unictokens.evaluation.interval import Values, estimate
from unictokens.evaluation.manifest import Manifest
from unictokens.evaluation.score import Score
from unictokens.evaluation.unifybench import scores
from unictokens.report.findings import Cell, Findings, Line

NOT_OURS = "no such column in this examination"
SHOWN_HOLES = 3


@dataclass(frozen=True)
class Sheet:
    """All examinations of a table and why some are missing: `failed` by folder, `refused` by (variant, concept, seed).

    read  scores that were read already, by folder: a table looks at each of them once per column
    """

    table: Table
    tasks: Mapping[Place, ExamTask]
    failed: Mapping[Path, str]
    refused: Mapping[tuple[str, str, int], str]
    read: dict[Path, dict[str, Score]] = field(default_factory=dict)

    def findings(self, concepts: Sequence[str], settings: dict[str, Any]) -> Findings:
        """The table. `settings` say how it was made."""
        table = self.table
        values: dict[str, dict[str, dict[str, list[float]]]] = {}
        whys: dict[tuple[str, str], str] = {}
        for variant in table.variants:
            for column in table.columns:
                found, why = self._values(variant, column)
                values.setdefault(variant.name, {})[column.label] = {
                    concept: found[concept] for concept in concepts if concept in found
                }
                whys[variant.name, column.label] = why

        def look(variant: str, column: str) -> Values:
            return values[variant][column]

        return Findings(
            table=table.name,
            title=table.title,
            source=table.source,
            columns=table.labels,
            lines=tuple(self._line(variant, values[variant.name], whys) for variant in table.variants),
            findings=tuple(claim.check(look) for claim in table.claims),
            plot=table.plot,
            notes=table.notes,
            settings=settings,
            values=values,
        )

    def _line(self, variant: Variant, values: Mapping[str, Values], whys: Mapping[tuple[str, str], str]) -> Line:
        cells = {}
        for label, found in values.items():
            mean, paper = estimate(found), variant.paper.get(label)
            why = whys[variant.name, label]
            cells[label] = (
                Cell(why=why or "nothing was examined", paper=paper)
                if mean is None
                else Cell(
                    mean=mean.mean, half=mean.half, concepts=mean.concepts, values=mean.values, why=why, paper=paper
                )
            )
        return Line(
            name=variant.name,
            note=variant.note,
            cells=cells,
            x=variant.x,
            series=variant.series,
            short=variant.short,
            holes=self._holes(variant),
        )

    def _values(self, variant: Variant, column: Column) -> tuple[dict[str, list[float]], str]:
        """Numbers by concept, and the commonest reason why some examinations that were held have none."""
        stage = self.table.stage_of(variant, column)
        found: dict[str, list[float]] = {}
        whys: Counter[str] = Counter()
        for place, task in self.tasks.items():
            if (place.variant, place.stage) != (variant.name, stage) or not task.held:
                continue
            if task.folder not in self.read:
                self.read[task.folder] = scores_of(task)
            score = self.read[task.folder].get(column.name, Score(None, 0, NOT_OURS))
            if score.value is None:
                whys[score.why] += 1
            else:
                found.setdefault(place.concept, []).append(score.value)
        return found, next((why for why, _ in whys.most_common(1)), "")

    def _holes(self, variant: Variant) -> tuple[str, ...]:
        """What is missing of a variant as a whole, by concept and seed; only the first few in full."""
        missing = [
            f"{concept}, seed {seed}: {reason}"
            for (name, concept, seed), reason in self.refused.items()
            if name == variant.name
        ]
        for place, task in self.tasks.items():
            if place.variant == variant.name and not task.held:
                reason = self.failed.get(task.folder, "not examined yet: run the same command again")
                missing.append(f"{place.concept}, seed {place.seed}: {reason}")
        missing = list(dict.fromkeys(missing))
        more = [f"and {len(missing) - SHOWN_HOLES} more"] if len(missing) > SHOWN_HOLES else []
        return (*missing[:SHOWN_HOLES], *more)


def scores_of(task: ExamTask) -> dict[str, Score]:
    """All scores of a finished examination, from its files alone. Raises DataError for damaged ones."""
    if not isinstance(task.exam, AbilitySettings):
        return scores(Manifest.open(task.folder), JUDGE)
    path = task.folder / ABILITY_FILE
    try:
        columns = json.loads(path.read_bytes())["columns"]
        return {name: Score(share["right"] / share["asked"], share["asked"]) for name, share in columns.items()}
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise DataError(f"'{path}' is damaged ({error}): remove its folder and reproduce again") from error


def pictures_of(sheet: Sheet, concepts: Sequence[str], count: int) -> dict[tuple[str, str], list[Path]]:
    """The first portraits of each variant by (variant, concept), of its first seed; none where a table has no drawings."""
    found: dict[tuple[str, str], list[Path]] = {}
    for place, task in sheet.tasks.items():
        key = (place.variant, place.concept)
        if place.concept not in concepts or key in found or not task.held or isinstance(task.exam, AbilitySettings):
            continue
        try:
            manifest = Manifest.open(task.folder)
        except (DataError, StorageError):
            continue
        drawn = [manifest.image(drawing) for drawing in manifest.drawings if drawing.group == "portrait"]
        if drawn:
            found[key] = drawn[:count]
    return found
