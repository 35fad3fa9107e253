"""The training loop: reports means, saves, and goes on where it stopped."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unictokens.pretrain.attributes import ATTRIBUTES
from unictokens.pretrain.loop import Training


def training(state: Path) -> Training:
    torch.manual_seed(0)
    pupil = nn.Linear(2, 1)
    return Training("toy", pupil, torch.optim.AdamW(pupil.parameters()), state)


def run(one: Training, last: int) -> None:
    def learn(step: int) -> tuple[dict[str, float], np.ndarray]:
        one.pupil(torch.full((1, 2), float(step + 1))).sum().backward()
        return {"loss": float(step)}, np.full(len(ATTRIBUTES), 0.25)

    one.run(last, lambda step: 0.1 / (step + 1), learn, report=2, save=100)


def test_reports_hold_the_means_since_the_last_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="unictokens.pretrain.loop"):
        run(training(tmp_path / "state"), last=4)
    told = [record.getMessage() for record in caplog.records]
    assert [line.split(";")[0] for line in told] == ["toy step 2: loss 0.5000", "toy step 4: loss 2.5000"]
    assert "class 0.25" in told[0] and "skin 0.25" in told[0]


def test_resumed_training_is_the_undisturbed_one(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole")
    run(whole, last=5)
    run(training(tmp_path / "parts"), last=3)
    parts = training(tmp_path / "parts")
    assert parts.done == 3
    run(parts, last=5)
    assert all(torch.equal(a, b) for a, b in zip(parts.pupil.parameters(), whole.pupil.parameters(), strict=True))
