"""DINO comes from a local folder, gives the class token, and refuses weights that are not all there."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from unictokens.encoders.dino import Dino
from unictokens.errors import CheckpointError, DependencyError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random ViT of transformers."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    place = tmp_path_factory.mktemp("dino") / "tiny"
    ViTModel(ViTConfig(**small, image_size=32, patch_size=16), add_pooling_layer=False).save_pretrained(place)
    return place


def test_the_class_token_of_the_last_layer_is_the_feature(folder: Path) -> None:
    from transformers import ViTModel

    dino, picture = Dino(folder), Image.new("RGB", (32, 32), (255, 0, 128))
    seen = dino.pictures([picture, Image.new("RGB", (90, 40), (0, 90, 0))])
    assert seen.shape == (2, 16) and torch.allclose(seen.norm(dim=1), torch.ones(2), atol=1e-5)
    # Every pixel has one colour, so resizing and cropping change nothing: the input can be written down.
    colour = (torch.tensor([1.0, 0.0, 128 / 255]) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    net = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = net(colour[None, :, None, None].expand(1, 3, 32, 32)).last_hidden_state[0, 0]
    assert torch.allclose(seen[0], expected / expected.norm(), atol=1e-4)


def test_the_name_tells_the_weights(folder: Path) -> None:
    assert Dino(folder).name.startswith("dino tiny@")


def test_what_is_missing_or_damaged_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"lacks config\.json"):
        Dino(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="get the files again") as caught:
        Dino(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_weight_that_is_not_there_is_never_made_up(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if name.endswith("weight") and "layer" in name)
    del weights[gone]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks the weight"):
        Dino(tmp_path)
