"""How much memory there is and how much this process has taken (Linux; elsewhere the numbers are None)."""

from pathlib import Path

KIB, MIB, GIB = 2**10, 2**20, 2**30

CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container says how much of the host's memory it may use."""


def host_bytes() -> int | None:
    """Memory of this host, or of the container this runs in where that is less."""
    total = _kib(Path("/proc/meminfo"), "MemTotal")
    limits = [limit for limit in map(_limit, CGROUPS) if limit is not None]
    return None if total is None else min([total, *limits])


def available_bytes() -> int | None:
    """Memory that can be taken now without swapping; a container's own limit is not looked at."""
    return _kib(Path("/proc/meminfo"), "MemAvailable")


def resident_bytes() -> int | None:
    """What this process has in memory now."""
    return _kib(Path("/proc/self/status"), "VmRSS")


def peak_bytes() -> int | None:
    """Most that this process had in memory since it began or since `forget_peak`."""
    return _kib(Path("/proc/self/status"), "VmHWM")


def forget_peak() -> None:
    """Let `peak_bytes` count anew from what is in memory now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def in_words(amount: float) -> str:
    """Bytes for people: "512 MiB", "2.7 GiB"."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / MIB:.0f} MiB"


def _kib(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * KIB
    return None


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None
