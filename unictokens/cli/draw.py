"""`unictokens draw --concept bo "A photo of <bo> at the beach." --out bo.png`"""

import argparse
import io
from pathlib import Path

from PIL import Image

from unictokens.atomic import write_bytes
from unictokens.backbones.base import Sampling
from unictokens.cli.options import add_concepts, add_replay, read_pipeline, read_replay
from unictokens.cli.shell import OK
from unictokens.errors import ConfigError
from unictokens.replay.replay import replay
from unictokens.storage.base import local_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `draw`."""
    add_concepts(parser)
    parser.add_argument("prompt", help='write <NAME> for the concept: "A photo of <bo> at the beach."')
    parser.add_argument(
        "--out", type=local_folder, required=True, help="PNG file; several images get -0, -1, ... before .png"
    )
    parser.add_argument("--images", type=int, default=1, help="how many (1)")
    parser.add_argument("--seed", type=int, default=0, help="image i uses seed + i; the same seed gives the same image")
    parser.add_argument("--steps", type=int, default=50, help="decoding steps (50)")
    parser.add_argument("--guidance", type=float, default=5.0, help="classifier-free guidance, 0 turns it off (5)")
    parser.add_argument("--temperature", type=float, default=1.0, help="start temperature of the remasking noise (1)")
    add_replay(
        parser,
        "first ask the concept what the prompt needs to know (its hat, where it lives): by rules, or by the model",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw and write the pictures; prints what was replayed, and their paths."""
    if arguments.images < 1 or arguments.steps < 1 or arguments.seed < 0:
        raise ConfigError("--images and --steps must be at least 1 and --seed at least 0")
    if not 0 <= arguments.guidance < float("inf") or not 0 <= arguments.temperature < float("inf"):
        raise ConfigError("--guidance and --temperature must be finite and at least 0")
    if arguments.out.suffix.lower() != ".png":
        raise ConfigError(f"--out {arguments.out}: pictures are written as PNG, end the name with .png")
    sampling = Sampling(steps=arguments.steps, guidance=arguments.guidance, temperature=arguments.temperature)
    seeds = range(arguments.seed, arguments.seed + arguments.images)
    settings, pipeline, prompt = read_replay(arguments), read_pipeline(arguments), arguments.prompt
    if settings is not None:
        trace = replay(pipeline, prompt, settings)
        print("\n".join(trace.lines))
        prompt = trace.prompt
    pictures = pipeline.draw(prompt, list(seeds), sampling)
    for number, picture in enumerate(pictures):
        print(_write(arguments.out, number if len(pictures) > 1 else None, picture))
    return OK


def _write(out: Path, number: int | None, picture: Image.Image) -> Path:
    path = out if number is None else out.with_name(f"{out.stem}-{number}{out.suffix}")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
    return path
