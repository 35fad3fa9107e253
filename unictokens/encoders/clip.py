"""CLIP models by open_clip, from local files only; the only file that imports open_clip."""

import pickle
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from unictokens.encoders.base import digest
from unictokens.errors import CheckpointError, ConfigError, DependencyError

TOYLAND = Path(__file__).resolve().parents[1] / "assets" / "toyland_clip"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names that open_clip gives weights in a folder, the preferred one first."""
AT_ONCE = 32
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, SafetensorError, pickle.UnpicklingError)


class Clip:
    """A CLIP, ready to encode.

    source  "toyland" (ships with the package), a folder in open_clip's layout (`open_clip_config.json` beside its weights), or
            ARCHITECTURE=FILE, such as ViT-B-32-quickgelu=clip.safetensors, with a weight file of that open_clip architecture
    Raises DependencyError without the library or the files, CheckpointError for files that are damaged or do not fit,
    ConfigError for an unknown architecture. Nothing is ever downloaded.
    """

    def __init__(self, source: str = "toyland", device: str = "cpu") -> None:
        architecture, file, label = _located(source)
        self.name = f"clip {label}@{digest([file])}"
        library = _library()
        local = architecture.startswith("local-dir:")
        if not local and architecture not in library.list_models():
            raise ConfigError(f"CLIP architecture '{architecture}' is unknown: choose one of open_clip.list_models()")
        try:
            net, _, self._prepare = library.create_model_and_transforms(
                architecture, pretrained=None if local else str(file), device=device, weights_only=True
            )
            self._tokenize = library.get_tokenizer(architecture)
        except DAMAGE as error:
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"'{file}' is no CLIP that fits {label} ({reason}): get the file again") from error
        self._net: Any = net.eval()
        self._device = device

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit vectors float32 [pictures, E] of RGB pictures of any size, resized and cropped as the model was trained."""
        parts = []
        for start in range(0, len(pictures), AT_ONCE):
            images_BCHW = torch.stack([self._prepare(picture) for picture in pictures[start : start + AT_ONCE]])
            parts.append(self._net.encode_image(images_BCHW.to(self._device), normalize=True).float().cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors float32 [texts, E]; texts too long for the model are cut."""
        ids_BT = self._tokenize(list(texts)).to(self._device)
        return self._net.encode_text(ids_BT, normalize=True).float().cpu()


def new_model(config: Mapping[str, Any]) -> nn.Module:
    """A randomly initialised CLIP of an open_clip `model_cfg`. Raises DependencyError without the library."""
    return _library().model.CLIP(**config)


def tokenize(texts: Sequence[str], length: int) -> Tensor:
    """int64 [texts, length] of CLIP's own byte-pair tokenizer, which ships with open_clip; long texts are cut."""
    return _tokenizer()(list(texts), context_length=length)


@cache
def _tokenizer() -> Any:
    return _library().tokenizer.SimpleTokenizer()


def _located(source: str) -> tuple[str, Path, str]:
    """What open_clip calls the model, its weight file, and a short label."""
    folder = TOYLAND if source == "toyland" else Path(source).expanduser()
    architecture, equals, file = source.partition("=")
    if equals and not folder.is_dir():
        return architecture, Path(file).expanduser(), architecture
    if not (folder / CONFIG).is_file():
        raise DependencyError(
            f"CLIP folder '{folder}' has no {CONFIG}: name a folder of open_clip, or ARCHITECTURE=FILE with a weight file"
        )
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise DependencyError(f"CLIP folder '{folder}' has no weights: put {WEIGHTS[0]} there")
    return f"local-dir:{folder}", weights, "toyland" if source == "toyland" else folder.name


def _library() -> Any:
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise DependencyError(f"CLIP needs the library '{error.name}': pip install open_clip_torch") from error
    return open_clip
