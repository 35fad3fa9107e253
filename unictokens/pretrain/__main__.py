"""`python -m unictokens.pretrain FOLDER`: make the small base from nothing, or go on where it stopped.

Everything is kept in FOLDER: drawn photos, training states, and at the end `FOLDER/base`, a backbone folder with its
model card. Interrupt it at any time; the same command continues. `--measure` only measures an existing `FOLDER/base`.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unictokens.atomic import write_bytes
from unictokens.backbones.showo.places import locate
from unictokens.backbones.showo.sequence import Sequences
from unictokens.backbones.showo.vocabulary import Vocabulary
from unictokens.backbones.showo.weights import load
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.errors import CheckpointError, UniCTokensError
from unictokens.pretrain.assemble import assemble, small_config
from unictokens.pretrain.card import measure_and_write
from unictokens.pretrain.codes import codes_kind, encode_shards, train_image_tokenizer
from unictokens.pretrain.corpus import corpus
from unictokens.pretrain.language import train_language_model
from unictokens.pretrain.lessons import Lessons
from unictokens.pretrain.lineage import Run, read_lineage, write_lineage
from unictokens.pretrain.picture_text import ClipRecipe, measure_clip, train_clip, write_clip
from unictokens.pretrain.pool import draw_shards, to_network
from unictokens.pretrain.reader import ReaderRecipe, train_reader, write_reader
from unictokens.pretrain.recipe import Recipe
from unictokens.settings import override, parse_settings

CORPUS_PHOTOS = 1_500
LISTED = "the model card of the base, or unictokens/pretrain/recipe.py, lists all settings"


def text_tokenizer(recipe: Recipe, folder: Path) -> TextTokenizer:
    """The byte-level BPE over Toyland's texts, learned once and kept in `folder`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        learned = TextTokenizer.train(corpus(recipe.held_out_seed // 2, CORPUS_PHOTOS), recipe.language.text_vocabulary)
        write_bytes(path, learned.to_json().encode())
    return TextTokenizer.load(path)


def pretrain(
    recipe: Recipe, folder: Path, device: str, processes: int, start: str | None = None, minutes: float | None = None
) -> Path:
    """Run the whole recipe; returns the backbone folder. With `minutes`, the transformer is trained by the clock.

    With `start`, a backbone of the recipe's sizes, its text tokenizer is kept, its image tokenizer is trained on for the
    recipe's steps (0 keeps it), and so is its transformer. Raises CheckpointError for a start of other sizes.
    """
    begun = None if start is None else load(start)
    tokenizer = text_tokenizer(recipe, folder) if begun is None else begun.tokenizer
    config = small_config(recipe, tokenizer.size)
    if begun is not None and replace(begun.config, fingerprint=config.fingerprint) != config:
        raise CheckpointError(f"base '{start}' has other sizes than the recipe: start from one made by this recipe")
    if begun is not None and recipe.tokenizer.steps == 0:
        magvit = begun.magvit
    else:
        draw_shards(folder, "strangers", recipe.tokenizer.shards, recipe.shard, recipe.image_size, processes)
        magvit = train_image_tokenizer(recipe.tokenizer, folder, device, start=None if begun is None else begun.magvit)
    kind = codes_kind(magvit)
    codes: dict[str, np.ndarray] = {}
    language = recipe.language
    used = {
        "strangers": language.shards,
        "companions": min(language.companion_shards, language.shards),
        "residents": language.resident_shards,
    }
    for pool, shards in used.items():
        draw_shards(folder, pool, shards, recipe.shard, recipe.image_size, processes, kind)
        codes[pool] = encode_shards(magvit, folder, pool, shards, device)
    black = np.zeros((1, recipe.image_size, recipe.image_size, 3), dtype=np.uint8)
    magvit = magvit.cpu()
    sequences = Sequences(Vocabulary.of(config, tokenizer.eot, tokenizer.size), tokenizer, config.text_length)
    black_N = magvit.codes(to_network(black))[0]
    lessons = Lessons(sequences, language, codes["strangers"], codes["companions"], codes["residents"], black_N)
    weights = None if begun is None else begun.language_model.float()
    # A state goes with its beginning and with its codes, so that one folder can serve many runs.
    origin = "nothing" if begun is None else begun.info.fingerprint[:12]
    state = folder / f"transformer-on-{kind}-from-{origin}.state.safetensors"
    model, steps = train_language_model(
        config, lessons, language, state, device, start=weights, processes=processes, minutes=minutes
    )
    fingerprint = assemble(folder / "base", config, model, magvit, tokenizer)
    before = [] if start is None else read_lineage(locate(start).config.parent)
    run = Run.of(fingerprint, replace(recipe, language=replace(language, steps=steps)))
    if minutes is not None:
        run = replace(
            run, note=f"The transformer was trained for {minutes:g} minutes: its learning rate followed the clock."
        )
    write_lineage(folder / "base", [*before, run])
    return folder / "base"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m unictokens.pretrain", description=__doc__)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--processes", type=int, default=2, help="processes that draw photos and build batches (default 2)"
    )
    parser.add_argument("--minutes", type=float, help="train the transformer for so long instead of language.steps")
    parser.add_argument("--start", metavar="BASE", help="train this base on (a folder, or mini) instead of a new one")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH=VALUE",
        help="change numbers of the recipe, such as language.steps=3000; with --start, tokenizer.steps is 0 unless set",
    )
    parser.add_argument("--measure", action="store_true", help="only measure FOLDER/base and write its model card")
    parser.add_argument("--unmeasured", action="store_true", help="do not measure the base: --measure can do it later")
    parser.add_argument(
        "--reader", action="store_true", help="only train the reader of Toyland pictures, for the judge"
    )
    parser.add_argument(
        "--clip", action="store_true", help="only train the small CLIP of Toyland, for CLIP-I and CLIP-T"
    )
    options = parser.parse_args(arguments)
    if options.minutes is not None and options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes:g}: give more than 0")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        if options.reader:
            net, hits = train_reader(load(options.start or "mini"), ReaderRecipe(), options.folder)
            write_reader(options.folder, net, ReaderRecipe(), hits)
            return 0
        if options.clip:
            backbone, settings = load(options.start or "mini"), ClipRecipe()
            clip = train_clip(backbone, settings, options.folder)
            write_clip(options.folder, clip, settings, measure_clip(clip, backbone, settings))
            return 0
        kept = {} if options.start is None else {"tokenizer.steps": 0}
        recipe = override(Recipe(), {**kept, **parse_settings(options.set)}, LISTED)
        base = (
            options.folder / "base"
            if options.measure
            else pretrain(recipe, options.folder, options.device, options.processes, options.start, options.minutes)
        )
        if not options.unmeasured:
            measure_and_write(base, recipe)
    except UniCTokensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
