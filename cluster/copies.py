"""What people look at, of an output in a bucket, as files of this machine: to draw a report of it, or to send what was tracked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from unictokens.atomic import write_bytes
from unictokens.output import Output
from unictokens.report.job import REPORT_FILE, write_report

REQUESTS = 16
"""At once: a bucket answers each in tens of milliseconds, and many at a time."""
REPORTED = 200
"""Runs beyond which a report is not drawn unasked: each is some twenty objects to fetch."""
STATE = (".lease", ".safetensors")
"""Endings of what only those who train need; a run's published rows are tracked, too."""
BUNDLE = "concept.safetensors"


def fetch(output: Output, under: str, wanted: Callable[[str], bool]) -> None:
    """Copy objects below `under` that are wanted to the same names below `output.local`. Raises StorageError."""

    def copy(name: str) -> None:
        data = output.storage.read(name)
        if data is not None:
            write_bytes(output.local / name, data)

    names = [name for name in output.storage.list(under) if wanted(name)]
    with ThreadPoolExecutor(REQUESTS) as pool:
        list(pool.map(copy, names))


def shown(name: str) -> bool:
    """Whether people look at an object of a run: its history, answers, events and pictures."""
    return not name.endswith(STATE) or PurePosixPath(name).name == BUNDLE


def report(output: Output, data: Path, runs: int) -> str:
    """Draw `report.html` of an output; returns where it is, or why there is none. Raises StorageError.

    runs  how many there are
    """
    if isinstance(output.root, Path):
        return str(write_report(output.root, data))
    if runs > REPORTED:
        return f"not drawn of {runs} runs in a bucket: copy '{output.root}' to a folder and use python -m unictokens report"
    fetch(output, "runs", shown)
    output.storage.write(REPORT_FILE, write_report(output.local, data).read_bytes())
    return f"{output.root}/{REPORT_FILE}"
