"""Progress bars in a terminal; a line per stage where there is none (log files, pipes)."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

LOG_WIDTH = 160


def make_console() -> Console:
    """Standard output: as wide as the terminal, and wide where there is none, so that tables in logs stay whole."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=LOG_WIDTH)


class Bars:
    """One bar per name, and one for all of them when `total` names are expected.

    Use it as a context manager. `show` may be called as often as wanted.
    """

    def __init__(self, console: Console, total: int = 0) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._total = self._bars.add_task("all concepts", total=total, note="") if total > 1 else None

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, name: str, done: float, stage: str, note: str) -> None:
        """`name` is at `done` (0 to 1) in `stage`; `note` says more beside its bar."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, note="")
        self._bars.update(self._tasks[name], completed=done, note=f"{stage} {note}")
        if not self._console.is_terminal and self._said.get(name) != stage:
            self._said[name] = stage
            self._console.print(f"{name}: {stage} {note}")

    def hide(self, name: str) -> None:
        """Remove the bar of `name` (it is over), so that long jobs fit a screen."""
        if name in self._tasks:
            self._bars.update(self._tasks[name], visible=False)

    def count(self, done: float, note: str, total: int | None = None) -> None:
        """How many of all names are done, in whole and in parts; `total` corrects how many there are."""
        if self._total is not None:
            self._bars.update(self._total, completed=done, note=note, total=total)

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text, markup=False)


def losses_text(losses: dict[str, float]) -> str:
    """Losses as shown beside a bar."""
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "total")
