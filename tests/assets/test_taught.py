"""The shipped base and the demo's settings teach: a concept is told from lookalikes and strangers by its tokens alone."""

from pathlib import Path

import numpy as np

from unictokens.backbones.base import Decoding
from unictokens.backbones.showo.weights import load
from unictokens.config import load_config
from unictokens.data.catalog import Catalog
from unictokens.data.toyland import hard_negative, random_photo, render
from unictokens.data.toyland.grammar import RECOGNITION
from unictokens.data.toyland.roster import roster, strangers
from unictokens.data.toyland.writer import write_dataset
from unictokens.pipeline import Pipeline
from unictokens.tracking.base import Trackers
from unictokens.training.engine import LocalEngine
from unictokens.training.pack import train_run

# The warm-up as the demo has it; the other stages only long enough to show that they do not undo it.
SETTINGS = {"preview.every": 0, "stages.bootstrap.epochs": 1, "stages.deepen.epochs": 1}
LEAST = 0.65
"""Mean of both recalls; chance is 0.5."""


def test_taught_concept_is_recognised_on_new_photos(tmp_path: Path) -> None:
    config = load_config("demo", SETTINGS)
    write_dataset(tmp_path / "data", concepts=1)
    record = Catalog.open(tmp_path / "data").concept("bo")
    backbone = load("mini", answer_start=config.answer_start)
    result = train_run(LocalEngine(backbone), record, config, tmp_path / "run", tracker=Trackers(()))
    assert result.bundle is not None
    (subject,) = roster(seed=0, count=1)
    rng = np.random.default_rng(99)
    photos = [random_photo(rng, subject) for _ in range(40)]
    photos += [random_photo(rng, hard_negative(subject, rng)) for _ in range(20)] + strangers(seed=5, count=20)
    questions = []
    for at, photo in enumerate(photos):
        render(photo, 128).save(tmp_path / f"{at}.png")
        questions.append((RECOGNITION[at % len(RECOGNITION)].format(who="<bo>"), tmp_path / f"{at}.png"))
    said = [answer.lower() for answer in Pipeline(backbone, [result.bundle]).ask_all(questions, Decoding(max_tokens=4))]
    yes = sum("yes" in answer for answer in said[:40]) / 40
    no = sum("no" in answer for answer in said[40:]) / 40
    assert (yes + no) / 2 >= LEAST, (yes, no)
