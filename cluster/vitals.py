"""What a lane takes of its machine, told to its own entry every few seconds; the only file that imports psutil.

The names are MLflow's, whose pages show `system/...` in a place of their own. Load and memory in use are the machine's, since
what a lane shares its machine with is half of the truth; what `process` is in the name of is the lane's own.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from unictokens.errors import StorageError
from unictokens.tracking.base import Status, Tracker

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0
MB = 1e6


def vital_signs() -> Callable[[], dict[str, float]]:
    """A function that takes the signs of this process and its machine; percentages are since its last call."""
    import psutil

    process = psutil.Process()
    process.cpu_percent()
    psutil.cpu_percent()

    def take() -> dict[str, float]:
        memory = psutil.virtual_memory()
        signs = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": round(memory.used / MB, 1),
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_cpu_percentage": process.cpu_percent(),
            "system/process_memory_megabytes": round(process.memory_info().rss / MB, 1),
        }
        return {**signs, **_device_signs()}

    return take


def _device_signs() -> dict[str, float]:
    """Of each GPU that this process sees and has begun to use."""
    signs: dict[str, float] = {}
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return signs
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        signs[f"system/gpu_{number}_memory_usage_megabytes"] = round((total - free) / MB, 1)
        signs[f"system/gpu_{number}_memory_usage_percentage"] = round(100 * (1 - free / total), 1)
        signs[f"system/gpu_{number}_process_megabytes"] = round(torch.cuda.memory_reserved(number) / MB, 1)
        try:
            signs[f"system/gpu_{number}_utilization_percentage"] = float(torch.cuda.utilization(number))
        except (ModuleNotFoundError, RuntimeError):
            continue  # needs the library pynvml and a driver that counts
    return signs


@contextmanager
def watched(tracker: Tracker, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Tell `tracker` the signs while the block runs, and its end with it. Steps count the signs, from 1."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(tracker, every, over), name="vitals", daemon=True)
    thread.start()
    status: Status = "failed"
    try:
        yield
        status = "finished"
    finally:
        over.set()
        thread.join()
        try:
            tracker.close(status)
        except StorageError as error:
            log.warning("the lane's own entry did not close: %s", error)


def _watch(tracker: Tracker, every: float, over: threading.Event) -> None:
    take, step, started = vital_signs(), 0, time.monotonic()
    try:
        while not over.wait(max(0.0, started + (step + 1) * every - time.monotonic())):
            step += 1
            tracker.metrics(step, take())
        tracker.metrics(step + 1, take())
    except (StorageError, RuntimeError) as error:
        # Nobody shall lose a lane because it cannot be watched.
        log.warning("this lane's machine is not tracked any more: %s", error)
