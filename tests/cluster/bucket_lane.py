"""A lane without Ray, for tests: the real desk, pack, heart and keeper in one process, which may be killed.

`python bucket_lane.py DATA BASE OUT LANE KILL_AT SETTINGS...` trains the concepts bo and tavo into OUT, going on with what is there, and
kills itself with the report of a step of the number KILL_AT, unless that is 0.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cluster import lane, lane_desk
from cluster.engines import EngineSettings
from cluster.folder import JobFolder
from cluster.heart import Heart
from cluster.keeper import Keeper, LaneSign, Orders, prepare
from cluster.lane_settings import LaneSettings
from cluster.plan import plan_job
from cluster.run_status import Ticket
from unictokens.backbones import load_backbone
from unictokens.config import PRESETS, override, parse_settings
from unictokens.data.catalog import Catalog
from unictokens.output import Output
from unictokens.storage.base import Place, parse_place
from unictokens.tracking.tracked import Tracked
from unictokens.training.engine import LocalEngine

CONCEPTS = ("bo", "tavo")


class Handle:
    """What Ray's handle of the keeper looks like: calls that are answered at once, one at a time."""

    def __init__(self, keeper: Keeper, told: Callable[[str], None]) -> None:
        self._keeper = keeper
        self._told = told
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def remote(*words: Any) -> Any:
            with self._lock:
                answer = getattr(self._keeper, name)(*words)
            self._told(name)
            return answer

        return type("Method", (), {"remote": staticmethod(remote)})

    def beat(self, sign: LaneSign) -> Orders | None:
        with self._lock:
            return self._keeper.beat(sign)


def train(
    data: Path,
    base: Path,
    out: Place,
    name: str,
    settings: list[str],
    told: Callable[[str], None],
    width: int = 1,
    begins: Callable[[Keeper, Heart], None] = lambda keeper, heart: None,
) -> Keeper:
    """Work off a job of the two concepts as the lane `name` on the node "n".

    told    hears of every call that the keeper has answered
    width   more than one only where the last bits do not matter: they differ with who shares a pack
    begins  is shown who will talk to each other
    """
    config = override(PRESETS["demo"], {**parse_settings(settings), "backbone": str(base)})
    catalog = Catalog.open(data)
    plan = plan_job(catalog, CONCEPTS, config, Output(out), resume=True)
    folder = JobFolder(out, "job-1")
    prepare(folder, None if folder.begun else plan)
    keeper = Keeper(folder)
    handle = Handle(keeper, told)
    lane_desk.heard = lane.heard = lambda answer, timeout=None: answer  # type: ignore[assignment]
    lanes = LaneSettings(
        name=name,
        job=folder.name,
        word=folder.share_word(),
        data=data,
        engine=EngineSettings.of(config),
        output=out,
        width=width,
        cpus=1,
        gpus=0,
        stall=900.0,
        tracking=Tracked(Path("of the driver"), None),
    ).here()
    lane._log_to(lanes.log_file)

    def sign(idle: float, tickets: tuple[Ticket, ...]) -> LaneSign:
        return LaneSign(lane=name, node="n", host="h", process=os.getpid(), idle=idle, tickets=tickets)

    heart = Heart(handle, sign, lanes.stall)
    heart.start()
    begins(keeper, heart)
    lane.work_off(lanes, handle, LocalEngine(load_backbone(str(base))), catalog, heart)
    return keeper


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_at, reports = int(sys.argv[5]), 0

    def told(call: str) -> None:
        global reports
        reports += call == "goes_on"
        if kill_at and reports == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(Path(sys.argv[1]), Path(sys.argv[2]), parse_place(sys.argv[3]), sys.argv[4], sys.argv[6:], told)
