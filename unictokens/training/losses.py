"""The losses of one step of one run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepLosses:
    """Mean cross-entropies of one step of one run, and their weighted sum; None where the step had no such samples."""

    understanding: float | None
    generation: float | None
    total: float

    def values(self) -> dict[str, float]:
        """The losses that exist, by name."""
        named = {"understanding": self.understanding, "generation": self.generation, "total": self.total}
        return {name: value for name, value in named.items() if value is not None}


UNKNOWN = StepLosses(None, None, float("nan"))
"""Losses of a step that was not made."""
