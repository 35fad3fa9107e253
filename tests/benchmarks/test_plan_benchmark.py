"""Forecast beside fact: GPU memory is told apart by what took it and when."""

from pathlib import Path

import pytest
import torch

from benchmarks.plan import Peaks, compared, trained
from cluster.capacity import Forecast
from unictokens.backbones.showo.weights import load
from unictokens.config import load_config, override
from unictokens.data.toyland.writer import write_dataset
from unictokens.memory import MIB

SHORT = {
    "perception.images": 1,
    "perception.early_step": 1,
    "perception.late_step": 2,
    "perception.sampling.steps": 2,
    "preview.every": 0,
    **{f"stages.{stage}.epochs": 1 for stage in ("warmup", "bootstrap", "deepen")},
    **{f"stages.{stage}.understanding_limit": 4 for stage in ("warmup", "bootstrap", "deepen")},
}


def test_what_was_given_out_is_told_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_out = iter(range(1, 10**6))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: next(given_out))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    peaks: list[Peaks] = []

    class Kept(Peaks):
        def __init__(self, device: torch.device) -> None:
            super().__init__(torch.device("cuda"))
            peaks.append(self)

    monkeypatch.setattr("benchmarks.plan.Peaks", Kept)
    write_dataset(tmp_path / "data", concepts=1)
    facts = trained(load("mini"), override(load_config("demo"), SHORT), tmp_path / "data", 1)
    assert facts["host"] > 100 * MIB and facts["GPU"] == 0 and not facts["parts"]
    names = ["before warmup", "warmup", "before bootstrap", "bootstrap", "before deepen", "deepen"]
    assert list(peaks[0].found) == names and list(peaks[0].found.values()) == sorted(peaks[0].found.values())


def test_parts_of_the_card_stand_beside_the_forecast() -> None:
    parts = {"driver": 400 * MIB, "weights": 100 * MIB}
    found = Forecast(width=2, cache_bytes=0, device=parts, host={"process": MIB}, seconds=None)
    row = compared(found, {"host": 2 * MIB, "GPU": 400 * MIB, "parts": {"driver": 300 * MIB, "warmup": 90 * MIB}})
    assert row["GPU error"] == "+25.0 %" and row["host error"] == "-50.0 %"
    assert row["predicted: driver MiB"] == 400 and row["measured: driver MiB"] == 300
