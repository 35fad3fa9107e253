"""Show-o from disk and to disk, strictly: every tensor is expected by name, shape and dtype, and nothing else is there."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Generator, Tensor, nn

from unictokens.atomic import write_bytes
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.config import ShowOConfig, read_config, read_json, to_json
from unictokens.backbones.showo.dispatch import everything, spread
from unictokens.backbones.showo.image_tokenizer import Magvit
from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.backbones.showo.places import locate
from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import CheckpointError

STORED_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
}
"""How safetensors headers call the dtypes of a Show-o."""


def load(
    source: str,
    device: str = "cpu",
    answer_start: bool = True,
    dtype: torch.dtype = torch.float32,
    magvit: Path | None = None,
    phi: Path | None = None,
) -> ShowO:
    """A frozen Show-o from "mini" (shipped with the package), a folder, or a hub name such as "showlab/show-o-512x512".

    magvit, phi  folders of the published image tokenizer and of phi-1_5 (tokenizer, config), where they do not lie inside
                 or beside the Show-o folder
    device       where to compute; "spread": over all GPUs and host memory, for a model larger than one GPU
    dtype        of the transformer in memory; the image tokenizer stays float32

    Weights are memory-mapped and never initialised first. Raises CheckpointError, in one line, for anything that is missing,
    left over, of another shape or dtype, damaged, or of another fingerprint than config.json expects.
    """
    places = locate(source, magvit, phi)
    config = read_config(places.config, None if places.phi is None else read_json(places.phi))
    tokenizer = TextTokenizer.load(places.tokenizer)
    Vocabulary.of(config, tokenizer.eot, tokenizer.size)  # refuses a foreign tokenizer before any weight is read
    with torch.device("meta"):
        language_model, image_tokenizer = LanguageModel(config.phi, config.vocab_size), Magvit(config.magvit)
    language_model.to(getattr(torch, config.stored))
    _fill(language_model, places.model)
    _fill(image_tokenizer, places.magvit)
    language_model.restore_frequencies()
    found = fingerprint(language_model, image_tokenizer)
    if config.fingerprint and found != config.fingerprint:
        raise CheckpointError(
            f"'{places.model.parent}' has fingerprint {found[:16]} but its config.json expects {config.fingerprint[:16]}: "
            f"the weights were changed; copy the folder again"
        )
    backbone = ShowO(config, language_model, image_tokenizer, tokenizer, places.name, found, answer_start)
    freeze(backbone)
    if language_model.embed_VD.dtype != dtype:
        language_model.cast(dtype)
    if device == "spread":
        spread(backbone, everything())
        return backbone
    return backbone.to(device)


def save_backbone(backbone: ShowO, folder: Path) -> str:
    """Write `config.json`, both weight files and `tokenizer.json` into `folder`; returns the fingerprint written.

    The transformer is stored as `config.stored`. Raises StorageError.
    """
    stored = getattr(torch, backbone.config.stored)
    transformer = {name: tensor.to(stored) for name, tensor in _tensors(backbone.language_model).items()}
    found = _digest([transformer, _tensors(backbone.magvit)])
    write_bytes(folder / "model.safetensors", save(transformer, metadata={"format": "pt"}))
    write_bytes(folder / "magvit.safetensors", save(_tensors(backbone.magvit), metadata={"format": "pt"}))
    write_bytes(folder / "tokenizer.json", backbone.tokenizer.to_json().encode())
    write_bytes(folder / "config.json", to_json(replace(backbone.config, fingerprint=found)).encode())
    return found


def random_backbone(config: ShowOConfig, tokenizer: TextTokenizer, seed: int, answer_start: bool = True) -> ShowO:
    """An untrained Show-o: weights from `seed`, norms at one, biases at zero. Frozen, float32, on the CPU."""
    generator = Generator().manual_seed(seed)
    with torch.device("meta"):
        language_model, image_tokenizer = LanguageModel(config.phi, config.vocab_size), Magvit(config.magvit)
    for module in (language_model, image_tokenizer):
        module.to_empty(device="cpu")
        for name, parameter in sorted(module.named_parameters()):
            with torch.no_grad():
                if parameter.ndim >= 2:
                    fan_in = parameter[0].numel()
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
                else:
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    language_model.restore_frequencies()
    image_tokenizer.quantize = type(image_tokenizer.quantize)(config.magvit.bits)
    found = fingerprint(language_model, image_tokenizer)
    backbone = ShowO(config, language_model, image_tokenizer, tokenizer, "random", found, answer_start)
    freeze(backbone)
    return backbone


def freeze(backbone: ShowO) -> None:
    """No gradients, evaluation mode."""
    backbone.language_model.requires_grad_(False).eval()
    backbone.magvit.requires_grad_(False).eval()


def fingerprint(language_model: LanguageModel, magvit: Magvit) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all stored tensors, 64 hex digits."""
    return _digest([_tensors(language_model), _tensors(magvit)])


def _digest(groups: list[dict[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for tensors in groups:
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {STORED_NAMES[tensor.dtype]} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _fill(module: nn.Module, path: Path) -> None:
    """Give a module on the meta device the tensors of a file, after checking the file's header against it."""
    expected = {name: (STORED_NAMES[t.dtype], tuple(t.shape)) for name, t in module.state_dict().items()}
    _compare(expected, _header(path), path)
    try:
        module.load_state_dict(load_file(path), strict=True, assign=True)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"'{path}' is damaged ({error}): copy the file again") from error


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor of a safetensors file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
            return {
                name: (entry["dtype"], tuple(entry["shape"]))
                for name, entry in header.items()
                if name != "__metadata__"
            }
    except FileNotFoundError as error:
        raise CheckpointError(f"'{path}' is missing: copy the complete model folder") from error
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"'{path}' is no intact safetensors file ({error}): copy the file again") from error


def _compare(
    expected: Mapping[str, tuple[str, tuple[int, ...]]], found: Mapping[str, tuple[str, tuple[int, ...]]], path: Path
) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    fix = "use the weights that belong to this config.json"
    if missing:
        raise CheckpointError(f"'{path}' lacks '{missing[0]}'{_more(missing)}: {fix}")
    if extra:
        raise CheckpointError(f"'{path}' has an unknown '{extra[0]}'{_more(extra)}: {fix}")
    for name, (dtype, shape) in sorted(expected.items()):
        if found[name][1] != shape:
            raise CheckpointError(f"'{path}': '{name}' has shape {found[name][1]} instead of {shape}: {fix}")
        if found[name][0] != dtype:
            raise CheckpointError(f"'{path}': '{name}' is stored as {found[name][0]} instead of {dtype}: {fix}")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
