"""Loading is strict: whatever does not fit is named in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unictokens.backbones import load_backbone
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.config import PHI_1_5, ShowOConfig, read_config
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.places import locate
from unictokens.backbones.showo.weights import fingerprint, load, random_backbone, save_backbone
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import CheckpointError, ConfigError

HEAD = "showo.lm_head.weight"
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tiny_backbone: ShowO, tmp_path: Path) -> Path:
    save_backbone(tiny_backbone, tmp_path / "tiny")
    return tmp_path / "tiny"


def rewrite(path: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)


def test_saved_backbone_loads_equal_and_frozen(tiny_backbone: ShowO, folder: Path) -> None:
    loaded = load_backbone(str(folder))
    assert loaded.info.fingerprint == tiny_backbone.info.fingerprint
    assert loaded.info.name == "tiny"
    for name, tensor in tiny_backbone.language_model.state_dict().items():
        assert torch.equal(tensor, loaded.language_model.state_dict()[name])
    parameters = [*loaded.language_model.parameters(), *loaded.magvit.parameters()]
    assert not any(parameter.requires_grad for parameter in parameters)
    assert not loaded.language_model.training
    rotary = loaded.language_model.showo.model.rotary_emb
    assert torch.equal(rotary.inv_freq, tiny_backbone.language_model.showo.model.rotary_emb.inv_freq)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensors: tensors.pop(HEAD), f"lacks '{HEAD}'"),
        (lambda tensors: tensors.update(stray=torch.zeros(1)), "unknown 'stray'"),
        (lambda tensors: tensors.update({HEAD: tensors[HEAD][:-1]}), r"shape \(374, 32\) instead of \(375, 32\)"),
        (lambda tensors: tensors.update({HEAD: tensors[HEAD].half()}), "stored as F16 instead of F32"),
        (lambda tensors: tensors.update({HEAD: tensors[HEAD] + 1.0}), "fingerprint"),
    ],
    ids=["missing", "extra", "shape", "dtype", "changed"],
)
def test_wrong_tensors_are_named(folder: Path, change: Callable[[Tensors], object], named: str) -> None:
    rewrite(folder / "model.safetensors", change)
    with pytest.raises(CheckpointError, match=named) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "magvit.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("harm", ["missing", "empty", "half"])
def test_damaged_files_are_named(folder: Path, name: str, harm: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(content[: len(content) // 2] if harm == "half" else b"")
    with pytest.raises(
        CheckpointError, match=name if (harm, name) != ("missing", "config.json") else "config"
    ) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_vq_tokens": 9}, "num_vq_tokens"),
        ({"text_size": "many"}, "text_size"),
        ({"colour": 1}, "colour"),
        ({"format": "other"}, "no Show-o"),
        ({"text_size": 200}, "text_size 200"),
        ({"codebook_bits": 7}, "codebook_bits"),
    ],
)
def test_wrong_config_is_named(folder: Path, change: dict[str, object], named: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=named):
        load(str(folder))


def test_stored_half_precision_comes_back_as_float(
    tiny_config: ShowOConfig, tiny_tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    from dataclasses import replace

    backbone = random_backbone(replace(tiny_config, stored="bfloat16"), tiny_tokenizer, seed=5)
    written = save_backbone(backbone, tmp_path)
    loaded = load(str(tmp_path))
    assert loaded.info.fingerprint == written
    assert loaded.language_model.embed_VD.dtype == torch.float32
    assert torch.equal(loaded.language_model.embed_VD, backbone.language_model.embed_VD.bfloat16().float())


def test_fingerprint_changes_with_any_weight(tiny_config: ShowOConfig, tiny_tokenizer: TextTokenizer) -> None:
    backbone = random_backbone(tiny_config, tiny_tokenizer, seed=1)
    before = fingerprint(backbone.language_model, backbone.magvit)
    assert before == random_backbone(tiny_config, tiny_tokenizer, seed=1).info.fingerprint
    backbone.magvit.decoder.conv_in.bias[0] += 1.0
    assert fingerprint(backbone.language_model, backbone.magvit) != before


def test_published_checkpoint_has_exactly_our_tensors() -> None:
    """Counts of the published files (Show-o 437 tensors, MAGVIT-v2 382)."""
    config = ShowOConfig(num_vq_tokens=256, image_size=256)
    with torch.device("meta"):
        model, magvit = LanguageModel(PHI_1_5, config.vocab_size).state_dict(), Magvit(config.magvit).state_dict()
    assert (len(model), sum(tensor.numel() for tensor in model.values())) == (437, 1_448_176_770)
    assert model["showo.model.layers.23.self_attn.q_layernorm.weight"].shape == (64,)
    assert (len(magvit), sum(tensor.numel() for tensor in magvit.values())) == (382, 55_439_171 + 39_947_833 + 106_509)


PUBLISHED = {
    "_class_name": "Showo",
    "_diffusers_version": "0.30.1",
    "codebook_size": 8192,
    "llm_model_path": "microsoft/phi-1_5",
    "llm_vocab_size": 50295,
    "load_from_showo": True,
    "mask_token_id": 58497,
    "num_vq_tokens": 1024,
    "vocab_size": 58498,
    "w_clip_vit": False,
    "something_new": 1,
}


def test_published_config_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PUBLISHED))
    config = read_config(path)
    assert (config.vocab_size, config.image_size, config.num_vq_tokens, config.width) == (58498, 512, 1024, 2048)
    path.write_text(json.dumps({key: PUBLISHED[key] for key in ("_class_name", "w_clip_vit")}))
    assert read_config(path).image_size == 256
    path.write_text(json.dumps(PUBLISHED | {"w_clip_vit": True}))
    with pytest.raises(CheckpointError, match="w_clip_vit"):
        read_config(path)
    path.write_text(json.dumps(PUBLISHED | {"vocab_size": 5}))
    with pytest.raises(CheckpointError, match="vocab_size"):
        read_config(path)


def test_published_repositories_are_found_inside_or_beside(tmp_path: Path) -> None:
    names = {"show-o": "config.json", "magvitv2": "pytorch_model.safetensors", "phi-1_5": "tokenizer.json"}
    for name, file in names.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(PUBLISHED))
    for source in (tmp_path, tmp_path / "show-o"):
        places = locate(str(source))
        assert places.model == tmp_path / "show-o" / "pytorch_model.safetensors"
        assert places.magvit == tmp_path / "magvitv2" / "pytorch_model.safetensors"
        assert places.tokenizer == tmp_path / "phi-1_5" / "tokenizer.json"
    shutil.rmtree(tmp_path / "magvitv2")
    with pytest.raises(CheckpointError, match="magvitv2"):
        locate(str(tmp_path))


def test_hub_name_without_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="showlab/show-o-512x512") as caught:
        load("showlab/show-o-512x512")
    assert "\n" not in str(caught.value) and "folder" in str(caught.value)


@pytest.mark.parametrize("source", ["nothing", "./nothing/here", "a/b/c", ""])
def test_unknown_source_is_named(source: str) -> None:
    with pytest.raises(CheckpointError):
        load_backbone(source)
    with pytest.raises(ConfigError, match="showo"):
        load_backbone(source, kind="bagel")
