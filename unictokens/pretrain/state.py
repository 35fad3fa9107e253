"""A resumable training state: weights and AdamW moments as safetensors, counters as metadata, written atomically."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unictokens.atomic import write_bytes
from unictokens.errors import StorageError

MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.AdamW, step: int) -> None:
    """Write weights, both AdamW moments and the number of finished steps."""
    tensors = {f"model.{name}": tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment in MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].contiguous().clone()
    write_bytes(path, save(tensors, metadata={"step": json.dumps(step)}))


def steps_done(path: Path) -> int:
    """The number of finished steps of a state, 0 when there is no file. Raises StorageError for a damaged file."""
    return 0 if not path.is_file() else _read(path)[0]


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.AdamW) -> int:
    """Restore what `save_state` wrote; returns the number of finished steps, 0 when there is no file.

    Raises StorageError for a damaged file.
    """
    if not path.is_file():
        return 0
    step, tensors = _read(path)
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    for name, parameter in model.named_parameters():
        if f"{MOMENTS[0]}.{name}" in tensors:
            # A fused AdamW counts where its weights are, any other one on the CPU.
            counted = parameter.device if optimizer.defaults["fused"] else "cpu"
            optimizer.state[parameter] = {"step": torch.tensor(float(step), device=counted)} | {
                moment: tensors[f"{moment}.{name}"].to(parameter.device, copy=True) for moment in MOMENTS
            }
    return step


def _read(path: Path) -> tuple[int, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            step = int(json.loads(file.metadata()["step"]))
            return step, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise StorageError(f"training state '{path}' is damaged ({error}): delete it to start again") from error
