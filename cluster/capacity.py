"""What a lane will need, told before anything starts: memory of device and host, time per concept, and what fits.

A lane holds the weights, keeps image prefixes, and at its fullest makes a training step for its whole pack or draws for it.
Everything is counted from sizes (`unictokens.backbones.showo.demand`); only what an empty process takes and how fast this
machine multiplies are measured here.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from cluster.engines import EngineSettings
from unictokens.backbones.precision import DTYPES
from unictokens.backbones.showo.demand import Demand, Load
from unictokens.config import RunConfig, StageConfig
from unictokens.data.epochs import stage_sources
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError, DataError
from unictokens.lookup import resolve
from unictokens.memory import MIB, in_words, resident_bytes
from unictokens.methods.base import METHODS, Method
from unictokens.methods.perception import DRAWN_TOGETHER, MOST_DRAWN_TOGETHER

LIBRARIES = ("transformers", "sklearn.cluster", "mlflow", "ray.train.torch")
"""What the processes of a lane import."""
FIRST_WORK = 48 * MIB
"""What the first computations leave behind for good: threads, kernels chosen (measured on a CPU: 35 to 40 MiB)."""
CONTEXT = 800 * MIB
"""What a GPU's driver, libraries and kernels take of its memory (measured on an H200: 619 to 873 MiB)."""
SPARE = 0.05
"""Share of the memory that is left free."""
EFFICIENCY = 0.38
"""Share of the speed of large products that whole trainings reach (measured: the demo takes 38 s per concept on two CPU cores)."""
LOOKED_AT = 4
"""Concepts whose texts are counted; images are counted for all that are given."""


@dataclass(frozen=True)
class Work:
    """What one concept asks of a lane.

    loads   the largest steps, one per stage of a few concepts: which of them takes most depends on the device and the pack
    flops   of all steps, drawings and pictures
    images  different image prefixes of all concepts together
    """

    loads: frozenset[Load]
    flops: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory that one lane's process may take. device is None where the device is the host."""

    host: int | None
    device: int | None = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A lane as it will be: pack width, cache, and bytes by what takes them.

    device, host  on a machine without a GPU everything is under host
    seconds       of a lane per concept; None where this machine's speed says nothing about the device
    """

    width: int
    cache_bytes: int
    device: dict[str, int]
    host: dict[str, int]
    seconds: float | None

    @property
    def device_bytes(self) -> int:
        """Device memory, all together."""
        return sum(self.device.values())

    @property
    def host_bytes(self) -> int:
        """Host memory of one process, all together."""
        return sum(self.host.values())

    def lacks(self, room: Room) -> int:
        """Bytes that are missing in this room; 0 when it fits."""
        device = 0 if room.device is None else self.device_bytes - int(room.device * (1 - SPARE))
        host = 0 if room.host is None else self.host_bytes - int(room.host * (1 - SPARE))
        return max(device, host, 0)


class Planner:
    """Forecasts for one backbone, dataset and configuration.

    concepts  how many there are, if those of `records` are only some of them (0: these are all)
    Raises CheckpointError for a backbone that is not there, DataError where no concept can be read.
    """

    def __init__(
        self, config: RunConfig, engine: EngineSettings, records: Sequence[ConceptRecord], concepts: int = 0
    ) -> None:
        self._config = config
        self._demands: dict[str, Demand] = {}
        self.engine = engine
        self.demand = self._demand(engine)
        self.work = self._work(records, concepts or len(records))
        self._empty = empty_process_bytes()

    def forecast(self, width: int, on_gpu: bool, engine: EngineSettings | None = None, flops: float = 0.0) -> Forecast:
        """What a lane needs with packs of `width`; `flops` is this machine's speed (0: say no time)."""
        engine = engine or self.engine
        demand = self._demand(engine)
        weights = -(-demand.weight_bytes // engine.processes)
        draws = min(MOST_DRAWN_TOGETHER, DRAWN_TOGETHER * width)

        def taken(load: Load) -> tuple[int, int]:
            """By a step, and by the image prefixes it reads or finds."""
            return demand.step_bytes(load.times(width), on_gpu), self._prefixes(demand, load, width, engine.cache_bytes)

        heaviest = max(self.work.loads, key=lambda load: sum(taken(load)))
        step, prefixes = taken(heaviest)
        computing = {
            "image tokenizer": demand.image_tokenizer_bytes,
            "image prefixes": prefixes,
            "steps or drawings": max(step, demand.drawing_bytes(draws) // engine.processes, demand.picture_bytes),
        }
        host = {"process": self._empty, "first work": FIRST_WORK}
        device: dict[str, int] = {}
        away = engine.engine == "deepspeed" and engine.offload in ("cpu", "auto", "nvme")
        if on_gpu:
            device = {"driver": CONTEXT, "weights": demand.resident_bytes if away else weights, **computing}
            host["offloaded weights"] = weights if away and engine.offload != "nvme" else 0
            host["image prefixes that no longer fit"] = engine.host_cache_bytes
        else:
            host |= {"weights": weights + (demand.resident_bytes if engine.engine == "deepspeed" else 0), **computing}
            kept = engine.cache_bytes + engine.host_cache_bytes
            host["image prefixes"] = self._prefixes(demand, heaviest, width, kept)
        seconds = self.work.flops / (flops * EFFICIENCY) if flops else None
        return Forecast(width=width, cache_bytes=engine.cache_bytes, device=device, host=host, seconds=seconds)

    def fit(self, width: int, room: Room, flops: float = 0.0, lanes: int = 1) -> Forecast:
        """The widest pack up to `width` that fits, and the largest cache beside it up to the one asked for.

        lanes  how many share the host's memory, of which `room` is one's part
        Raises ConfigError with the smallest change that would fit where not even a pack of one does.
        """
        on_gpu = room.device is not None
        for narrower in range(width, 0, -1):
            for parts in (4, 3, 2, 1, 0):
                engine = replace(self.engine, cache_bytes=self.engine.cache_bytes * parts // 4)
                found = self.forecast(narrower, on_gpu, engine, flops)
                if not found.lacks(room):
                    return found
        alone = self.forecast(1, on_gpu, replace(self.engine, cache_bytes=0))
        raise ConfigError(
            f"backbone '{self.engine.backbone}' does not fit: even one concept alone lacks {in_words(alone.lacks(room))}; "
            f"{self._way_out(room, lanes)}"
        )

    def _way_out(self, room: Room, lanes: int) -> str:
        if lanes > 1 and room.host is not None:
            alone = replace(room, host=room.host * lanes)
            if not self.forecast(1, room.device is not None, replace(self.engine, cache_bytes=0)).lacks(alone):
                return "it fits with --lanes 1"
        on_gpu = room.device is not None
        least = replace(self.engine, cache_bytes=0)
        away = replace(least, engine="deepspeed", offload="cpu" if on_gpu else "auto")
        more = replace(away, processes=2 * self.engine.processes)
        half = {"precision": "bf16"} if self.engine.precision != "bf16" else {}
        ways: list[tuple[str, EngineSettings]] = [("--set precision=bf16", replace(least, **half))]
        if on_gpu:
            ways += [
                ("--engine deepspeed --offload cpu", away),
                ("--engine deepspeed --offload cpu --set precision=bf16", replace(away, **half)),
            ]
        ways.append((f"--engine deepspeed --processes {more.processes}", more))
        for words, engine in ways:
            if not self.forecast(1, on_gpu, engine).lacks(room):
                return f"it fits with {words}"
        return "use a smaller backbone, smaller stages.*.understanding_batch, or a machine with more memory"

    def _prefixes(self, demand: Demand, load: Load, width: int, cache: int) -> int:
        """Those that are kept, or where more are read in one pass, these: the last ones read are the ones kept."""
        read = min(load.questions * width, self.work.images)
        return max(min(cache, self.work.images * demand.prefix_bytes), demand.reading_bytes(read))

    def _demand(self, engine: EngineSettings) -> Demand:
        if engine.precision not in self._demands:
            self._demands[engine.precision] = Demand(engine.backbone, DTYPES[engine.precision])
        return self._demands[engine.precision]

    def _work(self, records: Sequence[ConceptRecord], concepts: int) -> Work:
        method: Method = resolve(METHODS, self._config.method, "method")()
        stages = [stage.config for stage in method.stages(self._config)]
        images: Counter[tuple[Path, bool]] = Counter()
        read: list[ConceptRecord] = []
        loads: list[list[Load]] = []
        for record in records:
            try:
                images.update(self._images(record, stages))
                if len(loads) < LOOKED_AT:
                    loads.append([self._step(record, stage) for stage in stages])
                    read.append(record)
            except DataError:
                continue  # it will fail alone, with its reason, when its turn comes
        if not loads:
            raise DataError("no concept of this job can be read: run 'python -m unictokens data check DIR'")
        flops = self._flops(read, stages, loads)
        # A picture that one concept names is its own, and the others have as many of theirs; the rest are for all.
        own = sum(times == 1 for times in images.values())
        together = len(images) - own + own * concepts // len(records)
        largest = frozenset(load for each in loads for load in each)
        return Work(largest, flops + together / concepts * self._image_flops(), together)

    def _images(self, record: ConceptRecord, stages: Sequence[StageConfig]) -> set[tuple[Path, bool]]:
        found = set()
        for stage in stages:
            views = (False, True) if stage.flip > 0 else (False,)
            for picture, _ in stage_sources(record, stage, self._config.layout).understanding:
                found.update((picture, flipped) for flipped in views)
        return found

    def _step(self, record: ConceptRecord, stage: StageConfig) -> Load:
        """The longest samples of a stage in one batch."""
        sources = stage_sources(record, stage, self._config.layout)
        questions = sorted((self.demand.question(turns) for _, turns in sources.understanding), key=_ids, reverse=True)
        drawings = [self.demand.drawing(prompt) for _, prompt in sources.generation[:1]] * stage.generation_batch
        return sum([*questions[: stage.understanding_batch], *drawings], Load())

    def _flops(
        self, records: Sequence[ConceptRecord], stages: Sequence[StageConfig], loads: Sequence[Sequence[Load]]
    ) -> float:
        total = 0.0
        for record, each in zip(records, loads, strict=True):
            for stage, load in zip(stages, each, strict=True):
                sources = stage_sources(record, stage, self._config.layout)
                steps = max(
                    -(-len(sources.understanding) // stage.understanding_batch),
                    -(-len(sources.generation) // stage.generation_batch),
                )
                total += stage.epochs * steps * self.demand.step_flops(load)
        perception = self._config.perception
        drawn = perception.images * self.demand.drawing_flops(perception.sampling.steps)
        preview = self._config.preview
        shown = sum(stage.epochs // preview.every + 1 for stage in stages) if preview.every else 0
        return total / len(records) + drawn + shown * preview.images * self.demand.drawing_flops(preview.sampling.steps)

    def _image_flops(self) -> float:
        return self.demand.prefix_flops() + self.demand.encode_flops()


def empty_process_bytes() -> int:
    """Memory of a process that has imported what a lane imports; they are imported here, where they are installed."""
    for library in LIBRARIES:
        if find_spec(library.partition(".")[0]) is not None:
            import_module(library)
    return resident_bytes() or 0


def machine_flops(device: str, dtype: torch.dtype, threads: int) -> float:
    """Operations per second of large products here and now, with so many threads; takes about half a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left, right = (torch.randn(1024, 1024, device=device, dtype=dtype) for _ in range(2))
        torch.mm(left, right)
        best = 0.0
        ended = time.perf_counter() + 0.5
        while time.perf_counter() < ended:
            started = time.perf_counter()
            torch.mm(left, right)
            if device != "cpu":
                torch.cuda.synchronize()
            best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
        return best
    finally:
        torch.set_num_threads(before)


def _ids(load: Load) -> int:
    return load.question_ids
