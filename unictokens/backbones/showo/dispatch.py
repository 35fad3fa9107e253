"""A Show-o whose layers lie on several GPUs and, what does not fit there, in host memory or files (accelerate).

For drawing and answering with a model that is larger than one GPU, in one process. Only linear and norm layers compute
elsewhere; attention, tables and the image tokenizer stay on the first device, so whoever runs the layers need not know.
Training works too, but the way back needs every layer that was brought in, all at once; `--engine deepspeed` brings them
twice instead. The only file that imports accelerate.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from unictokens.backbones.showo.backbone import ShowO
from unictokens.errors import ConfigError, DependencyError
from unictokens.memory import available_bytes, in_words

Place = int | str
"""A GPU's number, "cpu" or "disk"."""

SHARE = 0.8
"""Share of what is free that weights may take."""


def everything() -> dict[Place, int]:
    """What is free on this machine: bytes per GPU, then host memory. Raises ConfigError where there is no GPU."""
    count = torch.cuda.device_count()
    if count == 0:
        raise ConfigError("--device spread needs a GPU: use --device cpu here")
    found: dict[Place, int] = {number: int(SHARE * torch.cuda.mem_get_info(number)[0]) for number in range(count)}
    found["cpu"] = int(SHARE * (available_bytes() or 0))
    return found


def spread(backbone: ShowO, memory: Mapping[Place, int], folder: Path | None = None) -> list[Place]:
    """Distribute a backbone that is on the CPU, in place; returns where each layer went.

    memory  bytes per place, the first one computing; "disk" needs `folder` for its files
    Raises ConfigError when the first place is too small for what must be there or the layers do not fit anywhere,
    DependencyError without accelerate.
    """
    try:
        from accelerate import cpu_offload, disk_offload, infer_auto_device_map
        from accelerate.hooks import AlignDevicesHook, add_hook_to_module
    except ModuleNotFoundError as error:
        raise DependencyError("spreading layers over devices needs accelerate: pip install accelerate") from error
    model: Any = backbone.language_model
    layers, first = model.showo.model.layers, next(iter(memory))
    tables = sum(part.nbytes for part in (model.embed_VD, model.head_VD, *backbone.magvit.parameters()))
    # A layer that waits elsewhere needs room on the first device for its turn.
    room = memory[first] - tables - sum(part.nbytes for part in layers[0].parameters())
    if room < 0:
        raise ConfigError(
            f"the first device has {in_words(memory[first])}, {in_words(-room)} too little for the tables and one layer: "
            "use a larger one, or --set precision=bf16"
        )
    kind = type(layers[0]).__name__
    found: Any = infer_auto_device_map(layers, max_memory={**memory, first: room}, no_split_module_classes=[kind])
    places: list[Place] = [found.get(str(number), found.get("")) for number in range(len(layers))]
    if None in places or ("disk" in places and folder is None):
        raise ConfigError("the layers do not fit on these devices: give more memory, or a folder for the rest")
    device = _device(first)
    for number, (layer, place) in enumerate(zip(layers, places, strict=True)):
        if place == "disk":
            disk_offload(layer, str(Path(folder or ".") / str(number)), execution_device=device)
        elif place == "cpu" and first != "cpu":
            cpu_offload(layer, execution_device=device)
        elif place != first:
            layer.to(_device(place))
            for part in layer.modules():
                if next(part.parameters(recurse=False), None) is not None:
                    # What comes in is brought to the layer, what goes out brought back.
                    add_hook_to_module(part, AlignDevicesHook(execution_device=_device(place), io_same_device=True))
        else:
            layer.to(device)
    for part in (
        model.showo.model.embed_tokens,
        model.showo.model.final_layernorm,
        model.showo.lm_head,
        backbone.magvit,
    ):
        part.to(device)
    model.restore_frequencies(device)
    backbone.prefixes.clear()
    return places


def _device(place: Place) -> torch.device:
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)
