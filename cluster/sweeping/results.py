"""What a sweep found, in files: the best configuration, every trial, the front of what cannot be had better in everything.

best.json            a configuration for --config
trials.csv, .json    a line per trial
pareto.json          with several metrics: trials that no other beats in all of them
importance.json, *.png
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from cluster.sweeping.importance import importance
from cluster.sweeping.objective import Objective, dominates
from cluster.sweeping.trial import Trial
from tune_spaces.space import Space, apply
from unictokens.atomic import write_bytes, write_json
from unictokens.config import RunConfig, to_dict
from unictokens.report.sweep_plots import Axis, Curve, Point, draw_curves, draw_importance, draw_parallel, draw_pareto

BEST_FILE = "best.json"
SHOWN = 20


@dataclass(frozen=True)
class Results:
    """Trials in order, and what they were to make better. `base` is the configuration that samples change."""

    name: str
    space: Space
    objective: Objective
    base: RunConfig
    trials: tuple[Trial, ...]

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """Finished trials, the best first: by the first metric, equal ones by those behind it."""

        def rank(trial: Trial) -> tuple[float, ...]:
            signs = [(1.0 if metric.goal == "min" else -1.0) for metric in self.objective.metrics]
            return (*(sign * value for sign, value in zip(signs, self._values(trial), strict=True)), trial.number)

        return tuple(sorted(self._whole, key=rank))

    @property
    def best(self) -> Trial | None:
        """The best of the first metric; None when no trial was finished."""
        return next(iter(self.ranked), None)

    @property
    def best_config(self) -> RunConfig | None:
        """Its configuration."""
        return None if self.best is None else apply(self.base, self.best.sample)

    @property
    def front(self) -> tuple[Trial, ...]:
        """Finished trials that no other is at least as good as in everything and better in something."""
        metrics = self.objective.metrics
        return tuple(
            trial
            for trial in self.ranked
            if not any(dominates(self._values(other), self._values(trial), metrics) for other in self._whole)
        )

    @property
    def shares(self) -> dict[str, float]:
        """How much each setting explains of the first metric (see `importance`)."""
        return importance(
            self.space.domains,
            [trial.sample for trial in self._whole],
            [self._values(trial)[0] for trial in self._whole],
        )

    def write(self, folder: Path) -> list[Path]:
        """Write everything; returns the files. Raises StorageError, and DependencyError without matplotlib."""
        files = {
            "trials.json": [trial.plain() for trial in self.trials],
            "importance.json": {"metric": self.objective.first.name, "trials": len(self._whole), "shares": self.shares},
        }
        if len(self.objective.metrics) > 1:
            files["pareto.json"] = [
                {"number": trial.number, "sample": trial.sample, **self._means(trial)} for trial in self.front
            ]
        if self.best_config is not None:
            files[BEST_FILE] = to_dict(self.best_config)
        for name, values in files.items():
            write_json(folder / name, values)
        write_bytes(folder / "trials.csv", self._csv().encode())
        return [*(folder / name for name in files), folder / "trials.csv", *self.draw(folder)]

    def draw(self, folder: Path) -> list[Path]:
        """The plots that have anything to show. Raises DependencyError without matplotlib, StorageError."""
        made: list[Path] = []
        watched = [
            Curve(trial.number, trial.curve, trial.state, trial is self.best or trial == self.best)
            for trial in self.trials
            if len(trial.curve) > 1
        ]
        if watched:
            made.append(draw_curves(folder / "curves.png", watched, self.objective.watched, self.name))
        first = self.objective.first
        if len(self._whole) > 1:
            axes = [
                Axis(path, [trial.sample[path] for trial in self._whole], bool(getattr(domain, "log", False)))
                for path, domain in self.space.domains.items()
            ]
            values = [self._values(trial)[0] for trial in self._whole]
            file = folder / "parallel.png"
            made.append(draw_parallel(file, axes, values, first.name, first.goal, self.name))
        if self.shares:
            file = folder / "importance.png"
            made.append(draw_importance(file, self.shares, first.name, len(self._whole), self.name))
        if len(self.objective.metrics) > 1 and self._whole:
            second = self.objective.metrics[1]
            points = [
                Point(
                    trial.number,
                    trial.mean(second.name) or 0.0,
                    trial.mean(first.name) or 0.0,
                    trial.spread(first.name) or 0.0,
                    trial in self.front,
                )
                for trial in self._whole
            ]
            made.append(draw_pareto(folder / "pareto.png", points, second.name, first.name, self.name))
        return made

    def table(self) -> Table:
        """For a terminal: the best trials, then how the others ended."""
        names = self.objective.names
        made = Table("trial", *names, *map(_short, self.space.domains), "epochs", "state", title=f"sweep {self.name}")
        others = [trial for trial in self.trials if trial.state != "finished"]
        for trial in (*self.ranked, *others)[:SHOWN]:
            values = [_shown(trial.mean(name), trial.spread(name)) for name in names]
            state = trial.state if not trial.error else f"{trial.state}: {trial.error[:80]}".replace("[", "\\[")
            style = "bold" if trial == self.best else "dim" if trial.state != "finished" else ""
            made.add_row(
                f"{trial.number}{f' from {trial.parent}' if trial.parent is not None else ''}",
                *values,
                *(_value(trial.sample[path]) for path in self.space.domains),
                str(trial.epochs or ""),
                state,
                style=style,
            )
        left = len(self.trials) - SHOWN
        caption = f"mean ± standard deviation over runs{f'; {left} more in trials.csv' if left > 0 else ''}"
        made.caption = caption
        return made

    @property
    def _whole(self) -> tuple[Trial, ...]:
        names = self.objective.names
        return tuple(
            trial
            for trial in self.trials
            if trial.state == "finished" and all(trial.mean(name) is not None for name in names)
        )

    def _values(self, trial: Trial) -> list[float]:
        return [value for name in self.objective.names if (value := trial.mean(name)) is not None]

    def _means(self, trial: Trial) -> Mapping[str, float | None]:
        return {name: trial.mean(name) for name in self.objective.names}

    def _csv(self) -> str:
        names, paths = self.objective.names, list(self.space.domains)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        scores = [column for name in names for column in (name, f"{name} spread")]
        writer.writerow(["trial", "parent", "state", *paths, *scores, "epochs", "seconds", "error"])
        for trial in self.trials:
            numbers: list[Any] = [each for name in names for each in (trial.mean(name), trial.spread(name))]
            row = [trial.number, trial.parent, trial.state, *(_value(trial.sample[path]) for path in paths), *numbers]
            writer.writerow(["" if each is None else each for each in [*row, trial.epochs, trial.seconds, trial.error]])
        return text.getvalue()


def numbers(results: Results) -> dict[str, float]:
    """What a tracker shows of a sweep as a whole."""
    states: Sequence[str] = ("finished", "stopped", "failed")
    found: dict[str, float] = {f"trials_{state}": sum(t.state == state for t in results.trials) for state in states}
    if results.best is not None:
        found |= {f"best/{name}": value for name, value in results._means(results.best).items() if value is not None}
    return found | {f"importance/{path}": share for path, share in results.shares.items()}


def _short(path: str) -> str:
    """A path as a heading: what says most stands first and last."""
    return path.removeprefix("stages.").removeprefix("layout.").replace(".optim.", " ")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.4g}" + (f" ± {spread:.2g}" if spread else "")
