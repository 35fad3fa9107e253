"""What a table is: variants of one method in order, columns, the paper's numbers, and claims. The loop is elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.reproduction.claims import Claim
from unictokens.config import RunConfig, override
from unictokens.evaluation.ability import AbilitySettings
from unictokens.evaluation.contenders import has_rows
from unictokens.evaluation.exam import EXAMS, ExamSettings
from unictokens.report.findings import Plot

UNDERSTANDING = (
    "rec",
    "recall",
    "no recall",
    "lookalike recall",
    "choice",
    "vqa bleu",
    "vqa score",
    "qa bleu",
    "qa score",
)
"""Columns that need no drawings."""


@dataclass(frozen=True)
class Column:
    """A score of the examination; `stage` takes it from the rows after that stage instead of the variant's own."""

    name: str
    stage: str = ""

    @property
    def label(self) -> str:
        """What the table calls it."""
        return f"{self.name} after {self.stage}" if self.stage else self.name


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A line of a table.

    changed     settings over the base configuration, by dotted path
    stage       after which stage the rows are examined, "" for the last
    contender   who is examined: "tokens", these with a replay ("replay-rules"), or a control ("nothing", "text"), which needs no training
    paper       the paper's numbers, by label of a column
    note        what must be known to read the line
    x, series, short   its place, line and name on the plot
    """

    name: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    stage: str = ""
    contender: str = "tokens"
    paper: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    x: float | None = None
    series: str = ""
    short: str = ""

    def config(self, base: RunConfig, seed: int) -> RunConfig:
        """The settings of its runs with one seed. Raises ConfigError for a path that does not exist."""
        return override(base, {**self.changed, "seed": seed})

    @property
    def trained(self) -> bool:
        """Whether it needs runs."""
        return has_rows(self.contender)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the paper's findings.

    source   where the paper has it
    exam     how rows are examined
    attends  whether the page shows where the variants' tokens look in a photo
    """

    name: str
    title: str
    source: str
    variants: tuple[Variant, ...]
    columns: tuple[Column, ...]
    claims: tuple[Claim, ...]
    plot: Plot
    notes: tuple[str, ...] = ()
    exam: ExamSettings | AbilitySettings = EXAMS["toyland"]
    attends: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.label for column in self.columns)

    def stage_of(self, variant: Variant, column: Column) -> str:
        """After which stage the rows are examined for a cell."""
        return column.stage or variant.stage

    def exam_of(self, variant: Variant, stage: str) -> ExamSettings | AbilitySettings:
        """The examination of a variant's rows after `stage`: without drawings where no column needs any."""
        if isinstance(self.exam, AbilitySettings):
            return self.exam
        wanted = [column.name for column in self.columns if self.stage_of(variant, column) == stage]
        if all(name in UNDERSTANDING for name in wanted):
            return replace(self.exam, pure=0, knowledge=0, portraits=0)
        return self.exam
