"""Training questions made from photos and a profile alone, for datasets that bring no stage files.

The published dataset makes its stage files with scripts of its own; these items follow the same recipe (paper section 3.3):
recognition of the concept's photos, of random pictures and, in stage 3, of look-alikes, the dataset's conversations, and
text-only questions about its facts on a black placeholder.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator

from unictokens.atomic import write_bytes, write_json
from unictokens.data.catalog import Catalog
from unictokens.data.folder import BLACK
from unictokens.data.records import IMAGE_MARK, ConceptRecord, Dialogue, Exchange
from unictokens.data.samples import EVALUATION_NAME
from unictokens.data.sheet import STAGES
from unictokens.errors import DataError

logger = logging.getLogger(__name__)

BLACK_SIDE = 512
RECOGNITION = (
    f"Is <{EVALUATION_NAME}> in the photo?",
    f"Can you see <{EVALUATION_NAME}> in this photo?",
    f"Is <{EVALUATION_NAME}> here?",
    f"Is this <{EVALUATION_NAME}>?",
    f"Does the photo show <{EVALUATION_NAME}>?",
)
_FACT_QUESTIONS = (
    (re.compile(r"has (an?|the|its|his|her) "), "What does {who} have?"),
    (re.compile(r"lives? "), "Where does {who} live?"),
    (re.compile(r"sleeps? "), "Where does {who} sleep?"),
    (re.compile(r"(likes?|loves?) "), "What does {who} like?"),
    (re.compile(r"(is|was) "), "Who is {who}?"),
)


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How many items of each kind a stage gets, at most; facts are used `per_fact` times.

    Recognition with the answer yes is as common as with no: each photo is asked about as often as it takes.
    """

    random: int
    hard: int
    conversations: int
    per_fact: int


AMOUNTS: dict[str, Amounts] = {
    "stage_1": Amounts(random=30, hard=0, conversations=20, per_fact=2),
    "stage_3": Amounts(random=5, hard=30, conversations=5, per_fact=1),
}
"""Stages 1 and 2 have random pictures as negatives (paper section 3.2, table 4); stage 3 sharpens recognition by look-alikes."""


def build_stage_items(
    record: ConceptRecord,
    stage: str,
    generator: Generator,
    wordings: Sequence[str] = RECOGNITION,
    others: Sequence[Path] = (),
) -> tuple[Dialogue, ...]:
    """Items of "stage_1" or "stage_3" for a concept, in random order.

    wordings  recognition questions, `<sks>` or `<name>` standing for the concept
    others    random pictures for a record that has none of its own, e.g. photos of other concepts

    The record's own positive and random recognitions are used when it has them. Raises DataError for a wording without
    the concept, and for a record with facts but no black placeholder.
    """
    amounts = AMOUNTS[stage]
    who = f"<{record.name}>"
    asked = [wording.replace(f"<{EVALUATION_NAME}>", who) for wording in wordings]
    if not asked or any(who not in wording for wording in asked):
        raise DataError(f"recognition wordings {list(wordings)!r:.80} must each contain <{EVALUATION_NAME}> or {who}")
    yes, no = f"Yes, {who} is in the photo.", f"No, {who} is not in the photo."

    def recognition(picture: Path, answer: str) -> Dialogue:
        wording = asked[int(torch.randint(len(asked), (1,), generator=generator).item())]
        return Dialogue((Exchange(f"{IMAGE_MARK}\n{wording}", answer),), picture)

    elsewhere = record.negatives or [recognition(picture, no) for picture in (record.random_negatives or others)]
    negatives = _some(elsewhere, amounts.random, generator)
    negatives += _some([recognition(picture, no) for picture in record.hard_negatives], amounts.hard, generator)
    positives = list(record.positives) if stage == "stage_1" else []
    rounds = max(1, math.ceil((len(negatives) - len(positives)) / len(record.photos)))
    items = [recognition(photo, yes) for _ in range(rounds) for photo in record.photos] + positives + negatives
    if not negatives:
        logger.warning("%s: no picture without the concept: it will learn to answer yes to any picture", record.name)
    items += _some(record.conversations, amounts.conversations, generator)
    facts = [exchange for exchange in fact_exchanges(record) for _ in range(amounts.per_fact)]
    if facts and record.black is None:
        raise DataError(f"dataset '{record.root}' has no {BLACK}: add a black picture of that name")
    items += [Dialogue((exchange,), record.black) for exchange in facts]
    pictured = [item for item in items if item.image]
    return tuple(_some(pictured, len(pictured), generator))


def fact_exchanges(record: ConceptRecord) -> tuple[Exchange, ...]:
    """Text-only questions: who the concept is, and one per fact, answered by the dataset's own sentence."""
    who = f"<{record.name}>"
    exchanges = [Exchange(f"Who is {who}?", record.info)]
    for fact in record.facts:
        rest = fact.removeprefix(f"{who} ")
        wording = next((wording for pattern, wording in _FACT_QUESTIONS if pattern.match(rest)), None)
        if rest == fact or wording is None:
            wording = "What do you know about {who}?"
        exchanges.append(Exchange(wording.format(who=who), fact))
    return tuple(exchanges)


def write_stage_files(catalog: Catalog, name: str, seed: int = 0, stages: Sequence[str] = STAGES) -> list[Path]:
    """Write the stage files that a concept lacks, in the official layout, and the black placeholder if it is missing.

    Existing files are left alone; returns the new ones. A concept without random pictures gets photos of the other
    concepts as negatives. Raises DataError for a broken concept, StorageError when the disk refuses.
    """
    black = catalog.root / BLACK
    if not black.exists():
        stream = BytesIO()
        Image.new("RGB", (BLACK_SIDE, BLACK_SIDE)).save(stream, "PNG")
        write_bytes(black, stream.getvalue())
    record = catalog.concept(name)
    others = [
        picture
        for other in catalog.names
        if other != name and not record.random_negatives
        for picture in catalog.folder.pictures(f"concept/train/{other}")
    ]
    wordings = [
        wording for wording in catalog.templates().get("recognition", RECOGNITION) if f"<{EVALUATION_NAME}>" in wording
    ]
    written = []
    for stage in stages:
        if stage in record.stages:
            continue
        generator = Generator().manual_seed(seed * len(STAGES) + STAGES.index(stage))
        items = build_stage_items(record, stage, generator, wordings or RECOGNITION, others)
        path = catalog.root / f"showo_training_data_{stage}" / f"{name}.json"
        write_json(path, [_as_json(item, catalog.root) for item in items])
        written.append(path)
    return written


def _as_json(item: Dialogue, root: Path) -> dict[str, Any]:
    conversations = []
    for exchange in item.exchanges:
        conversations.append({"from": "human", "value": exchange.question})
        conversations.append({"from": "gpt", "value": exchange.answer})
    picture = {"image": item.image.relative_to(root).as_posix()} if item.image else {}
    return {**picture, "conversations": conversations}


def _some(items: Sequence[Dialogue], count: int, generator: Generator) -> list[Dialogue]:
    order = torch.randperm(len(items), generator=generator).tolist()
    return [items[at] for at in order[:count]]
