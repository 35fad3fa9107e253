"""A recorded training of the published code: tensors by stage, settings, weights, and the random numbers it drew.

The format (safetensors per stage, `weights.json`, a small dataset) is the one of the training parity vectors; all sizes
come from the files.
"""

import ast
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor

from unictokens.backbones.base import MaskDraw
from unictokens.concepts.layout import TokenLayout
from unictokens.config import PRESETS, OptimConfig, RunConfig, SamplingConfig, StagesConfig
from unictokens.data.epochs import Choice
from unictokens.errors import DataError, TrainingError
from unictokens.methods.draws import Place, SeededDraws

STAGE_FILES = {"warmup": "stage1", "bootstrap": "stage2", "deepen": "stage3"}
"""Our stage names to the recording's files."""
IGNORE = -100


@dataclass(frozen=True, eq=False)
class StageRecording:
    """One stage file. Steps count from 1 over all epochs; `steps` per epoch."""

    name: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @cached_property
    def all_steps(self) -> int:
        """Steps of all epochs."""
        return sum(key.startswith("step.") and key.endswith(".losses") for key in self.tensors)

    @cached_property
    def steps(self) -> int:
        """Steps of one epoch."""
        return len({key.split(".")[1] for key in self.tensors if key.startswith("data.")})

    @property
    def rows(self) -> int:
        """Rows that exist in this stage (R)."""
        return int(self.metadata["R"])

    @property
    def trained(self) -> Tensor:
        """Row numbers int64 that the stage trains."""
        return self.tensors["trained"].nonzero()[:, 0]

    def at(self, kind: str, number: int, key: str) -> Tensor:
        """A tensor of step (or batch) `number`."""
        return self.tensors[f"{kind}.{number:03d}.{key}"]

    def has(self, kind: str, number: int, key: str) -> bool:
        """Whether that tensor was recorded."""
        return f"{kind}.{number:03d}.{key}" in self.tensors

    def number(self, epoch: int, step: int) -> int:
        """The recording's number of a step."""
        return (epoch - 1) * self.steps + step

    @property
    def optimizer(self) -> OptimConfig:
        """AdamW's settings."""
        # The recording stored Python's repr of the settings inside a JSON string.
        values = ast.literal_eval(json.loads(self.metadata[f"{STAGE_FILES[self.name]}.optimizer"]))
        return OptimConfig(
            lr=values["lr"], betas=tuple(values["betas"]), eps=values["eps"], weight_decay=values["weight_decay"]
        )


@dataclass(frozen=True)
class Recording:
    """A folder of training parity vectors; raises DataError for one that lacks a file or holds a damaged one."""

    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """`weights.json`: sizes, counts and the seeded weights' rule."""
        path = self.folder / "weights.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' is not readable ({error}): point to a training parity folder") from error

    @cached_property
    def stages(self) -> dict[str, StageRecording]:
        """Our stage names to their recordings."""
        return {
            name: StageRecording(name, *_read(self.folder / f"{file}.safetensors"))
            for name, file in STAGE_FILES.items()
        }

    @cached_property
    def perception(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and metadata of the perception step."""
        return _read(self.folder / "perception.safetensors")

    @property
    def images(self) -> int:
        """How many pictures perception drew."""
        return len({key.split(".")[1] for key in self.perception[0] if key.startswith("image.")})

    @cached_property
    def layout(self) -> TokenLayout:
        """K, M, N."""
        counts = self.about["counts"]
        return TokenLayout(shared=counts["K"], generation=counts["M"], understanding=counts["N"])

    @cached_property
    def config(self) -> RunConfig:
        """The preset `authors_code` with this recording's counts, learning rates, epochs and sampler."""
        preset, metadata = PRESETS["authors_code"], self.perception[1]
        stages = {}
        for name, stage in self.stages.items():
            # Each stage continues from the last epoch of the one before. Weight decay and eps stay the preset's: they
            # are what the recording checks.
            own = getattr(preset.stages, name)
            stages[name] = replace(
                own,
                epochs=stage.all_steps // stage.steps,
                optim=replace(own.optim, lr=stage.optimizer.lr),
                start_epoch=None,
            )
        watched = [number + 1 for number in json.loads(metadata["steps_to_return"])]
        sampling = SamplingConfig(
            steps=int(metadata["timesteps"]),
            guidance=float(metadata["guidance_scale"]),
            temperature=float(metadata["temperature"]),
        )
        return replace(
            preset,
            layout=self.layout,
            stages=StagesConfig(**stages),
            perception=replace(
                preset.perception, images=self.images, early_step=watched[0], late_step=watched[1], sampling=sampling
            ),
            preview=replace(preset.preview, every=0),
        )

    def seeded_weights(self, part: str) -> dict[str, Tensor]:
        """Float32 weights of `part` ("model" or "vq") by the recording's rule: keys in order, normal draws, scaled.

        Integer tensors and fixed tables are left out. Raises DataError when a tensor does not have the recorded values.
        """
        rule = self.about[part]
        generator = Generator().manual_seed(rule["seed"])
        found: dict[str, Tensor] = {}
        for key in sorted(rule["shapes"]):
            if key not in rule["tensors"]:
                continue
            drawn = torch.randn(rule["shapes"][key], generator=generator) * rule["scale"]
            if "layernorm.weight" in key or ("norm" in key and key.endswith("weight")):
                drawn = drawn + 1.0
            if key == "quantize.embedding":
                continue
            total, first, last = rule["tensors"][key]
            seen = (drawn.double().sum().item(), drawn.flatten()[0].item(), drawn.flatten()[-1].item())
            if any(
                abs(mine - theirs) > 1e-6 * max(1.0, abs(theirs))
                for mine, theirs in zip(seen, (total, first, last), strict=True)
            ):
                raise DataError(
                    f"'{self.folder}': seeded tensor '{key}' is {seen}, recorded is {rule['tensors'][key]}: another torch drew it"
                )
            found[key] = drawn
        return found


@dataclass(frozen=True)
class RecordedDraws:
    """The random numbers that the recording drew, in place of seeded ones."""

    recording: Recording

    def generator(self, *purpose: str | int) -> Generator:
        return SeededDraws(0).generator(*purpose)

    def choices(self, stage: str) -> tuple[Choice, ...] | None:
        return recorded_choices(self.recording.stages[stage])

    def flips(self, stage: str, pictures: int, probability: float) -> tuple[bool, ...]:
        flips = self.recording.stages[stage].tensors["kmeans.flip"]
        if flips.numel() != pictures:
            raise TrainingError(f"the recording has {flips.numel()} k-means pictures, the dataset {pictures}")
        return tuple(bool(flip) for flip in flips)

    def masks(self, place: Place, samples: int, codes: int, condition_dropout: float) -> tuple[MaskDraw, ...]:
        stage = self.recording.stages[place.stage]
        number = stage.number(place.epoch, place.step)
        if samples == 0:
            return ()
        # Drawing sequences come first; their codes stand before the closing end-of-image id.
        labels_BN = stage.at("step", number, "labels")[:samples, -codes - 1 : -1]
        dropped_B = stage.at("step", number, "t2i_dropped")
        return tuple(
            MaskDraw(labels_N != IGNORE, bool(dropped)) for labels_N, dropped in zip(labels_BN, dropped_B, strict=True)
        )

    def perception_seed(self, image: int) -> int:
        return int(self.recording.perception[1]["seed_first_image"]) + image

    def perception_order(self, images: int) -> tuple[int, ...]:
        return tuple(self.recording.perception[0]["kmeans.order"].tolist())


def recorded_choices(stage: StageRecording) -> tuple[Choice, ...]:
    """The pictures of an epoch in the order, flips and crops that were recorded."""
    made: list[Choice] = []
    for number in range(1, stage.steps + 1):
        for index, flip in zip(
            stage.at("data", number, "mmu_index").tolist(), stage.at("data", number, "mmu_flip").tolist(), strict=True
        ):
            made.append(Choice("understanding", index, bool(flip)))
        if stage.name == "warmup":
            continue
        for index, flip, corner in zip(
            *(stage.at("data", number, f"t2i_{key}").tolist() for key in ("index", "flip", "crop")), strict=True
        ):
            made.append(Choice("generation", index, bool(flip), tuple(corner) if min(corner) >= 0 else None))
    return tuple(made)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"'{path}' is not readable ({error}): point to a complete training parity folder") from error
