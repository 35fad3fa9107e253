"""Write the model card of a small base: what it is, how it was made, what it was measured to do."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unictokens.atomic import write_bytes
from unictokens.backbones.base import BackboneInfo, Sampling
from unictokens.backbones.showo.weights import load
from unictokens.data.toyland.residents import LOOKALIKES, resident_questions
from unictokens.data.toyland.roster import roster
from unictokens.pretrain.codes import mean_error
from unictokens.pretrain.lineage import Run, lineage_table, read_lineage
from unictokens.pretrain.measure import (
    Score,
    draw_descriptions,
    encode_photos,
    following_scores,
    held_out_photos,
    understanding_scores,
)
from unictokens.pretrain.pool import draw_pixels
from unictokens.pretrain.probe import probe_scores
from unictokens.pretrain.recipe import Recipe

DRAWN = frozenset({"class", "colour", "second", "pattern", "accessory", "accessory_colour", "place"})
"""Kinds of question that are asked about the base's own drawings."""

RESIDENTS = frozenset({"recognition", "who"})
"""Kinds of question that are asked about residents."""

KIND_NAMES = {
    "class": "which class",
    "colour": "main colour (hair of persons)",
    "second": "second colour (shirt of persons)",
    "pattern": "pattern",
    "accessory": "accessory",
    "accessory_colour": "colour of the accessory",
    "place": "place",
    "describe": "full description, word for word",
    "yesno": "yes or no about one attribute",
    "choice": "one of two offered answers",
    "recognition": "recognition: `X is <description or name>. Is X in the photo?`",
    "who": "`Who is this?`",
}


def table(scores: Mapping[str, Score]) -> str:
    """Markdown rows of scores."""
    rows = [
        f"| {KIND_NAMES.get(kind, kind)} | {100 * score.accuracy:.1f} % | {score.asked:,} |"
        for kind, score in scores.items()
    ]
    return "\n".join(["| question | right | asked |", "|---|---|---|", *rows])


def _made_by(run: Run) -> dict[str, Any]:
    """The settings of a run that decided its weights, without those of the measurements after it."""
    return {
        name: value for name, value in run.recipe.items() if name in ("image_size", "shard", "tokenizer", "language")
    }


def write_card(
    path: Path,
    info: BackboneInfo,
    recipe: Recipe,
    runs: Sequence[Run],
    rebuilding_error: float,
    answers: Mapping[str, Score],
    residents: Mapping[str, Score],
    drawings: Mapping[str, Score],
    following: Mapping[str, Score],
    probes: Mapping[str, Score],
) -> None:
    """Write `MODEL_CARD.md` from measured numbers only; `recipe` says what was held out, `runs` how the base was made."""
    text = f"""# Mini base

A small Show-o (the classes of the published model, small sizes) that knows only Toyland, the drawn world of this
package. It exists so that everything here runs on a CPU; it knows nothing of real photos.

- {info.image_size} px images, {info.codes} codes; width {info.width}; vocabulary {info.vocabulary:,}
- fingerprint of the frozen weights: `{info.fingerprint}`
- licence: Apache-2.0, like the code; trained on drawings made by this package only

## Made by

Runs of `python -m unictokens.pretrain FOLDER`, each but the first with `--start` on the one before; a run without steps of
the image tokenizer keeps it. AdamW, bfloat16 products, float32 weights.

{lineage_table(runs)}

## Measured

`python -m unictokens.pretrain FOLDER --measure` on {recipe.held_out:,} held-out photos (seeds from {recipe.held_out_seed:,}):

Rebuilt photos are off by {rebuilding_error:.1f} of 255 on average. {_probed(recipe, probes)}

Questions about held-out photos, greedy answers (an answer counts when it equals the grammar's; yes/no by its first word):

{table(answers)}

Questions about residents, whom the base knows by name, asked about {recipe.held_out:,} held-out photos of them and of lookalikes,
who differ in one fine feature ({100 * LOOKALIKES:.0f} % of the photos):

{table(residents)}

The same questions asked about the base's own drawings of held-out captions that mention everything (this measures
drawing and reading together, so it is a lower bound of neither):

{table(drawings)}

Questions that it asks for requests such as "A photo of <kai> with its cup.", word for word as `unictokens.replay.exemplars` shows them to
it, by how many it is shown (kinds, names and things at random; without an example it cannot know how questions are put here):

{table(following)}

## Settings of the last run

Those of every run are in `lineage.json`.

```
{json.dumps(_made_by(runs[-1]), indent=1) if runs else "not recorded"}
```
"""
    write_bytes(path, text.encode())


def _probed(recipe: Recipe, probes: Mapping[str, Score]) -> str:
    if not probes:
        return "How well a probe tells concepts from their hard negatives by image codes was not measured here."
    mean = sum(score.right for score in probes.values()) / sum(score.asked for score in probes.values())
    worst = min(score.accuracy for score in probes.values())
    return f"""A small probe on image codes, which learns from {recipe.probe.renders:,}
renders of a concept and as many of its hard negatives, which differ in one fine feature, tells them apart in {100 * mean:.1f} % of held-out
renders (mean of {len(probes)} concepts, worst {100 * worst:.1f} %; chance is 50 %)."""


def measure_and_write(folder: Path, recipe: Recipe) -> None:
    """Measure the base in `folder` on held-out photos and write its `MODEL_CARD.md`."""
    backbone = load(str(folder))
    photos = held_out_photos(recipe.held_out_seed, recipe.held_out)
    answers = understanding_scores(backbone, photos, encode_photos(backbone, photos))
    known = held_out_photos(recipe.held_out_seed, recipe.held_out, "residents")
    by_name = understanding_scores(backbone, known, encode_photos(backbone, known), RESIDENTS, resident_questions)
    few = photos[: recipe.drawn]
    drawn_PN = draw_descriptions(backbone, few, Sampling(steps=16, guidance=3.0), seed=0)
    drawings = understanding_scores(backbone, few, drawn_PN, DRAWN)
    subjects = roster(seed=0, count=recipe.probe.concepts) if recipe.probe.concepts else ()
    probes = probe_scores(backbone.magvit, subjects, recipe.image_size, recipe.probe, seed=0)
    pixels = draw_pixels(range(recipe.held_out_seed, recipe.held_out_seed + recipe.drawn), recipe.image_size)
    write_card(
        folder / "MODEL_CARD.md",
        backbone.info,
        recipe,
        read_lineage(folder),
        mean_error(backbone.magvit, pixels),
        answers,
        by_name,
        drawings,
        following_scores(backbone, recipe.held_out_seed, recipe.held_out),
        probes,
    )
