"""With the recorded random numbers, our trainer does what the published three-stage training did, step by step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import DataError
from unictokens.training import parity
from unictokens.training.parity import Check, compare
from unictokens.training.recording import Recording


@pytest.mark.parametrize("name", ["parity_train", "parity_train_k4"])
def test_training_follows_the_recording(shared_data: Path, name: str) -> None:
    checks = compare(shared_data / name, TextTokenizer.load(shared_data / "phi_tokenizer" / "tokenizer.json"))
    wrong = [check for check in checks if not check.ok]
    assert not wrong, f"{len(wrong)} of {len(checks)} differ, first: {wrong[:3]}"
    kinds = {part for check in checks for part in check.name.split(".")}
    assert {"input_ids", "labels", "mmu_codes", "t2i_codes", "codes_step35", "painted", "loss_t2i", "embed"} <= kinds


@pytest.mark.parametrize("name", ["warmup", "bootstrap", "deepen"])
def test_a_wrong_weight_decay_is_noticed(shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    config = Recording(shared_data / "parity_train_k4").config
    stage = getattr(config.stages, name)
    wrong = replace(stage, optim=replace(stage.optim, weight_decay=0.0))
    careless = replace(config, stages=replace(config.stages, **{name: wrong}))
    monkeypatch.setattr(parity.Recording, "config", careless)
    checks = compare(
        shared_data / "parity_train_k4", TextTokenizer.load(shared_data / "phi_tokenizer" / "tokenizer.json")
    )
    assert any(check.name.startswith(f"{name}.rows") and not check.ok for check in checks)


def test_folder_without_recording_is_refused(tmp_path: Path, tiny_tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match="training parity folder"):
        compare(tmp_path, tiny_tokenizer)


def test_check_allows_no_more_than_it_says() -> None:
    assert Check("a", 0.0, 0.0).ok
    assert not Check("a", 1e-5, 1e-6).ok
    assert not Check("a", float("inf"), 1.0).ok


def test_recorded_codes_replace_one_flipped_sign_near_zero_only(shared_data: Path) -> None:
    recording = Recording(shared_data / "parity_train")
    tokenizer = TextTokenizer.load(shared_data / "phi_tokenizer" / "tokenizer.json")
    backbone = parity.recorded_backbone(recording, tokenizer)
    side = backbone.info.image_size
    picture = torch.zeros(1, 3, side, side)
    mine_N = backbone.encode(picture)[0]
    for flips, margin, replaced in ((1, 1e-5, True), (2, 1e-5, False), (1, 1e-3, False)):
        recorded_N = mine_N.clone()
        recorded_N[:flips] ^= 1
        backbone.recorded_PN, backbone.margins_P = recorded_N[None], torch.tensor([margin])
        assert torch.equal(backbone.encode(picture)[0], recorded_N if replaced else mine_N)


def test_a_painted_picture_may_rarely_be_one_level_off(shared_data: Path) -> None:
    recorded = torch.zeros(64, 64, 3, dtype=torch.uint8)
    one, many, far = recorded.clone(), recorded + 1, recorded.clone()
    one[0, 0, 0], far[0, 0, 0] = 1, 2
    for mine, fine in ((recorded, True), (one, True), (many, False), (far, False)):
        seen = parity.Comparison(Recording(shared_data / "parity_train"), Vocabulary(50295, 8192, 50256))
        seen._picture("painted", mine, recorded)
        assert seen.checks[0].ok is fine
