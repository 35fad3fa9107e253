"""Options that several commands share."""

import argparse
from pathlib import Path
from typing import Any

from unictokens.backbones import load_backbone
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.store import LATEST, ConceptStore
from unictokens.config import PRESETS, RunConfig, load_config, override, parse_settings
from unictokens.errors import ConceptError, ConfigError
from unictokens.pipeline import Pipeline
from unictokens.replay.settings import MOST, PARSERS, ReplaySettings
from unictokens.storage.base import parse_place

OUT = Path("out")


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config, --set, --backbone: read by `read_config`."""
    parser.add_argument(
        "--config", default="paper", metavar="PRESET|FILE", help=f"{', '.join(PRESETS)}, or a JSON file"
    )
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="PATH=VALUE", help="change settings")
    parser.add_argument("--backbone", metavar="mini|DIR|HUB", help="frozen model, in place of the config's")


def read_config(arguments: argparse.Namespace) -> RunConfig:
    """The run's settings. Raises ConfigError."""
    config = load_config(arguments.config, parse_settings(arguments.set))
    return override(config, {"backbone": arguments.backbone}) if arguments.backbone else config


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device: read by `read_device`."""
    parser.add_argument(
        "--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, or spread (over all)"
    )


def read_device(arguments: argparse.Namespace) -> str:
    """The device to compute on. Raises ConfigError for one that is not there."""
    import torch

    if arguments.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.device == "spread" and torch.cuda.is_available():
        return "spread"
    kind = arguments.device.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"--device {arguments.device} is not available here: use cpu or auto")
    return arguments.device


def add_store(parser: argparse.ArgumentParser) -> None:
    """--store: a folder or a URL."""
    parser.add_argument(
        "--store",
        type=parse_place,
        default=OUT / "store",
        help="where concepts are published: a folder, or a URL such as s3://bucket/prefix/store (out/store)",
    )


def add_concepts(parser: argparse.ArgumentParser) -> None:
    """--store, --concept, --backbone: read by `read_pipeline`."""
    add_store(parser)
    parser.add_argument(
        "--concept",
        action="append",
        required=True,
        metavar="NAME[@VERSION]",
        help="a concept by name, with @ a version or alias; several times for several concepts",
    )
    parser.add_argument("--backbone", metavar="mini|DIR|HUB", help="frozen model, in place of the one trained on")
    add_device(parser)


def add_replay(parser: argparse.ArgumentParser, what: str) -> None:
    """--replay, --exemplars: read by `read_replay`."""
    parser.add_argument("--replay", choices=PARSERS, help=what)
    parser.add_argument(
        "--exemplars", type=int, metavar="N", help=f"shown to the model in --replay exemplars, 0 to {MOST} ({MOST})"
    )


def read_replay(arguments: argparse.Namespace) -> ReplaySettings | None:
    """How knowledge is replayed, None for not at all. Raises ConfigError."""
    if arguments.exemplars is not None and arguments.replay != "exemplars":
        raise ConfigError("--exemplars counts those that the model is shown: add --replay exemplars")
    if arguments.replay is None:
        return None
    return ReplaySettings(
        parser=arguments.replay, exemplars=MOST if arguments.exemplars is None else arguments.exemplars
    )


def read_pipeline(arguments: argparse.Namespace) -> Pipeline:
    """The concepts on their backbone. Raises ConceptError, StorageError, CheckpointError."""
    store = ConceptStore(arguments.store)
    bundles = []
    for asked in arguments.concept:
        name, _, version = asked.partition("@")
        bundles.append(store.get(name, version or LATEST))
    device = read_device(arguments)
    loading = trained_on(bundles[0], arguments.backbone)
    backbone = load_backbone(**loading, device=device)
    return Pipeline(backbone, bundles, backbone.device)


def trained_on(bundle: ConceptBundle, source: str | None = None) -> dict[str, Any]:
    """How the concept's backbone was loaded when it was trained, as `load_backbone` takes it; `source` replaces from where.

    Raises ConceptError when neither says which backbone it is.
    """
    config = bundle.card.provenance.config
    if source is None and "backbone" not in config:
        raise ConceptError(
            f"concept '{bundle.card.name}' does not say which backbone it was trained on: name it with --backbone"
        )
    return {
        "source": source or config["backbone"],
        "answer_start": config.get("answer_start", True),
        "precision": config.get("precision", "fp32"),
    }
