"""Which engine a lane trains with: its options, and how its processes open it."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from unictokens.backbones import load_backbone
from unictokens.backbones.showo.prefix import DEFAULT_BYTES
from unictokens.config import Precision, RunConfig
from unictokens.errors import ConfigError, StorageError
from unictokens.memory import GIB, host_bytes, in_words
from unictokens.training.engine import Engine, LocalEngine

EngineName = Literal["local", "deepspeed"]
Where = Literal["auto", "none", "cpu", "nvme"]
ENGINES: tuple[EngineName, ...] = ("local", "deepspeed")
OFFLOADS: tuple[Where, ...] = ("auto", "none", "cpu", "nvme")
ROOM = 1.5
"""Weights stay on the devices under "auto" when these have this many times their size free."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How a lane computes.

    engine            "local": one process with the whole backbone; "deepspeed": a group of processes that partition it
    offload           where a partitioned backbone waits: "none" on the devices, "cpu" in host memory, "nvme" in files of
                      `folder`; "auto" is "none" where the devices have room, else "cpu"
    processes         of one lane, one device each
    cache_bytes       for keys and values of image prefixes on the device
    host_cache_bytes  for those that no longer fit there
    """

    backbone: str
    answer_start: bool = True
    precision: Precision = "fp32"
    engine: EngineName = "local"
    offload: Where = "auto"
    folder: Path | None = None
    processes: int = 1
    cache_bytes: int = DEFAULT_BYTES
    host_cache_bytes: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> "EngineSettings":
        """The plain engine for a run's backbone."""
        return cls(backbone=config.backbone, answer_start=config.answer_start, precision=config.precision)

    def check(self) -> None:
        """Raises ConfigError for settings that contradict each other or this host."""
        if self.engine == "local" and self.processes > 1:
            raise ConfigError(
                f"--processes {self.processes} needs --engine deepspeed: the local engine is one process (use --lanes)"
            )
        if self.engine == "local" and self.offload not in ("auto", "none"):
            raise ConfigError(f"--offload {self.offload} needs --engine deepspeed: the local engine keeps its weights")
        if self.processes < 1:
            raise ConfigError(f"--processes {self.processes} is below one: a lane needs a process")
        if min(self.cache_bytes, self.host_cache_bytes) < 0:
            raise ConfigError("a cache cannot be smaller than nothing: use --cache 0 to keep no image prefixes")
        if self.offload == "nvme":
            _check_folder(self.folder)
        memory, wanted = host_bytes(), self.host_cache_bytes
        if memory is not None and wanted > memory:
            raise ConfigError(
                f"--host-cache {wanted / GIB:g} is above this host's memory ({in_words(memory)}): choose less"
            )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Options of the engine: read by `read_engine`."""
    parser.add_argument("--engine", default="local", help=f"{' or '.join(ENGINES)} (local)")
    parser.add_argument("--offload", default="auto", help=f"of deepspeed: {', '.join(OFFLOADS)} (auto)")
    parser.add_argument("--offload-path", type=Path, metavar="DIR", help="folder for --offload nvme")
    parser.add_argument("--processes", type=int, default=1, help="processes that share a lane, of deepspeed (1)")
    parser.add_argument(
        "--cache", type=float, default=DEFAULT_BYTES / GIB, metavar="GIB", help="for image prefixes on the device (0.5)"
    )
    parser.add_argument(
        "--host-cache", type=float, default=0.0, metavar="GIB", help="for those that no longer fit there (0)"
    )


def read_engine(arguments: argparse.Namespace, config: RunConfig) -> EngineSettings:
    """The engine asked for. Raises ConfigError for unknown names and impossible settings."""
    for option, value, known in (("engine", arguments.engine, ENGINES), ("offload", arguments.offload, OFFLOADS)):
        if value not in known:
            raise ConfigError(f"--{option} '{value}' is unknown: choose one of {', '.join(known)}")
    settings = EngineSettings(
        backbone=config.backbone,
        answer_start=config.answer_start,
        precision=config.precision,
        engine=arguments.engine,
        offload=arguments.offload,
        folder=arguments.offload_path,
        processes=arguments.processes,
        cache_bytes=int(arguments.cache * GIB),
        host_cache_bytes=int(arguments.host_cache * GIB),
    )
    settings.check()
    return settings


@contextmanager
def opened(settings: EngineSettings, device: str) -> Iterator[Engine | None]:
    """The engine of a lane's first process. The others do their part in here until they are let go, and get None.

    Raises what loading the backbone raises, DependencyError without DeepSpeed.
    """
    whole = settings.engine == "local"
    backbone = load_backbone(
        settings.backbone,
        device=device if whole else "cpu",
        answer_start=settings.answer_start,
        precision=settings.precision,
    )
    backbone.keep_prefixes(settings.cache_bytes, settings.host_cache_bytes)
    if whole:
        yield LocalEngine(backbone, device)
        return
    from cluster.deepspeed_engine import Led, Worker

    where = _where(settings, backbone.weight_bytes, device)
    worker = Worker(backbone, torch.device(device), where, settings.folder)
    if not worker.leads:
        worker.follow()
        yield None
        return
    yield LocalEngine(Led(worker), device)
    # Not after an error: the others may wait in the middle of a pass, and end with the lane.
    worker.release()


def _where(settings: EngineSettings, weights: int, device: str) -> Literal["none", "cpu", "nvme"]:
    """What "auto" means here for so many bytes of weights."""
    if settings.offload != "auto":
        return settings.offload
    if torch.device(device).type != "cuda":
        return "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return "none" if ROOM * weights / settings.processes <= free else "cpu"


def _check_folder(folder: Path | None) -> None:
    if folder is None:
        raise ConfigError("--offload nvme needs a folder on a fast disk: add --offload-path DIR")
    if not folder.is_dir():
        raise ConfigError(f"--offload-path '{folder}' is no folder: create it on a fast disk first")
    if not os.access(folder, os.W_OK):
        raise StorageError(f"--offload-path '{folder}' cannot be written: choose another folder")
