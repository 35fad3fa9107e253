"""The reader's recipe makes a net that its file brings back, and a card with what was measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unictokens.backbones.showo.weights import load
from unictokens.data.toyland import random_photo, render
from unictokens.errors import CheckpointError
from unictokens.evaluation.toyland_reader import ToylandReader
from unictokens.pretrain.attributes import ATTRIBUTES
from unictokens.pretrain.reader import ReaderRecipe, train_reader, write_reader


def test_a_short_training_learns_places_and_survives_its_file(tmp_path: Path) -> None:
    recipe = ReaderRecipe(groups=75, held_out=15, steps=60, batch=32)
    net, hits = train_reader(load("mini"), recipe, tmp_path)
    at = list(ATTRIBUTES).index("place")
    assert float(hits["drawn"][at]) > 0.5 and hits["rebuilt"].shape == (len(ATTRIBUTES),)
    write_reader(tmp_path, net, recipe, hits)
    assert f"| place | {100 * float(hits['drawn'][at]):.1f} % |" in (tmp_path / "MODEL_CARD.md").read_text()
    rng = np.random.default_rng(1)
    pictures = [render(random_photo(rng), 64) for _ in range(3)]
    reader = ToylandReader(tmp_path / "reader.safetensors")
    assert len(reader.read(pictures)) == 3
    for kept, made in zip(reader._net.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(kept, made)


def test_a_missing_or_damaged_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no reader"):
        ToylandReader(tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(CheckpointError, match="no reader"):
        ToylandReader(tmp_path / "torn.safetensors")
