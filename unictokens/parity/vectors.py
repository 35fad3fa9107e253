"""A file of recorded tensors, comparisons with it, and the seeded weights that recordings were made with."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn

from unictokens.errors import DataError

RELATIVE = 1e-5
"""Largest allowed difference of float32 numbers, as a share of the largest recorded magnitude."""


@dataclass(frozen=True)
class Check:
    """One comparison: largest absolute difference (nan when it could not be made) and whether that is allowed."""

    name: str
    difference: float
    ok: bool
    note: str = ""


@dataclass(frozen=True, eq=False)
class Vectors:
    """All tensors and metadata of one recorded file; `name` is the file without its ending."""

    name: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Vectors":
        """Raises DataError for a missing or damaged file."""
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
                return cls(path.stem, tensors, file.metadata() or {})
        except (OSError, SafetensorError) as error:
            raise DataError(f"'{path}' is no intact vector file ({error}): copy it again") from error

    def get(self, key: str) -> Tensor:
        """A recorded tensor; raises DataError when it is absent."""
        if key not in self.tensors:
            raise DataError(f"vector file '{self.name}' lacks '{key}': it must have the keys of the recorded format")
        return self.tensors[key]

    def setting(self, key: str) -> str:
        """A metadata value; raises DataError when it is absent."""
        if key not in self.metadata:
            raise DataError(f"vector file '{self.name}' lacks the metadata '{key}': copy it again")
        return self.metadata[key]

    def exact(self, key: str, found: Tensor) -> Check:
        """Compare integers or booleans, which must be equal."""
        expected = self.get(key)
        if found.shape != expected.shape:
            return Check(f"{self.name}/{key}", float("nan"), False, f"shape {tuple(found.shape)}")
        difference = _largest(found.double() - expected.double())
        return Check(f"{self.name}/{key}", difference, difference == 0.0)

    def close(self, key: str, found: Tensor, allowed: float | None = None) -> Check:
        """Compare float numbers; `allowed` is absolute, RELATIVE of the largest recorded magnitude unless given."""
        expected = self.get(key).double()
        if found.shape != expected.shape:
            return Check(f"{self.name}/{key}", float("nan"), False, f"shape {tuple(found.shape)}")
        if not bool(torch.isfinite(found).all()):
            return Check(f"{self.name}/{key}", float("nan"), False, "not finite")
        difference = _largest(found.detach().double() - expected)
        limit = RELATIVE * _largest(expected) if allowed is None else allowed
        return Check(f"{self.name}/{key}", difference, difference <= limit)

    def unknown(self, covered: list[Check], inputs: set[str]) -> list[Check]:
        """A failed check for every tensor that is neither compared nor an input: nothing is left out silently."""
        seen = {check.name.removeprefix(f"{self.name}/") for check in covered} | inputs
        return [
            Check(f"{self.name}/{key}", float("nan"), False, "no check is known for this tensor")
            for key in sorted(self.tensors.keys() - seen)
        ]


def seeded(text: str, default_seed: int, default_scale: float) -> tuple[int, float]:
    """Seed and scale of the weights, from a note such as "seeded_fill(seed=99,scale=0.1)"."""
    seed, scale = re.search(r"seed\s*=\s*(\d+)", text), re.search(r"scale\s*=\s*([\d.]*\d)", text)
    return int(seed.group(1)) if seed else default_seed, float(scale.group(1)) if scale else default_scale


@torch.no_grad()
def fill(module: nn.Module, seed: int, scale: float, restore: tuple[str, ...] = ()) -> None:
    """Seeded weights as recordings use them: sorted keys, one generator, standard normal times `scale`, norms plus one.

    Tensors named in `restore` take their draw and keep their value.
    """
    generator = Generator().manual_seed(seed)
    for name, tensor in sorted(module.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        drawn = torch.randn(tensor.shape, generator=generator) * scale
        if "layernorm.weight" in name or ("norm" in name and name.endswith("weight")):
            drawn += 1.0
        if name not in restore:
            tensor.copy_(drawn)


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
