"""CLIP comes from local files, looks at pictures and texts, and refuses what is missing or damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from unictokens.encoders.clip import Clip, new_model
from unictokens.errors import CheckpointError, ConfigError, DependencyError

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP in open_clip's layout."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("clip") / "tiny"
    place.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": preprocess}))
    save_file(new_model(TINY).state_dict(), place / "open_clip_model.safetensors")
    return place


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return Clip(str(folder))


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (40 + 10 * at, 50), (60 * at, 200, 30)) for at in range(4)]


def test_a_folder_gives_unit_vectors_of_pictures_and_texts(clip: Clip) -> None:
    seen, said = clip.pictures(pictures()), clip.texts(["a dog", "a cat " * 40])
    assert seen.shape == (4, 16) and said.shape == (2, 16) and seen.dtype == torch.float32
    assert torch.allclose(torch.cat([seen, said]).norm(dim=1), torch.ones(6), atol=1e-5)
    assert not torch.allclose(seen[0], seen[1]) and not torch.allclose(said[0], said[1])


def test_pictures_are_seen_alone_as_in_company(clip: Clip) -> None:
    together, alone = clip.pictures(pictures()), [clip.pictures([picture])[0] for picture in pictures()]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_the_name_tells_the_weights(folder: Path, clip: Clip, tmp_path: Path) -> None:
    assert clip.name.startswith("clip tiny@") and len(clip.name.partition("@")[2]) == 12
    torch.manual_seed(1)
    other = tmp_path / "tiny"
    other.mkdir()
    (other / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    torch.save(new_model(TINY).state_dict(), other / "open_clip_pytorch_model.bin")
    assert Clip(str(other)).name != clip.name


def test_what_is_missing_or_damaged_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"no open_clip_config\.json"):
        Clip(str(tmp_path))
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    with pytest.raises(DependencyError, match="no weights"):
        Clip(str(tmp_path))
    whole = (folder / "open_clip_model.safetensors").read_bytes()
    (tmp_path / "open_clip_model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="get the file again") as caught:
        Clip(str(tmp_path))
    assert "\n" not in str(caught.value)
    lacking = dict(list(new_model(TINY).state_dict().items())[3:])
    save_file(lacking, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match="get the file again"):
        Clip(str(tmp_path))


def test_architectures_need_a_file_and_a_known_name(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="does not exist"):
        Clip(f"ViT-B-32={tmp_path / 'no.safetensors'}")
    (tmp_path / "some.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="'Magic-7'"):
        Clip(f"Magic-7={tmp_path / 'some.safetensors'}")
