"""The base that ships with the package is the one its card describes, and it is small."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.weights import fingerprint, load
from unictokens.data.toyland.roster import roster
from unictokens.pretrain.measure import encode_photos, held_out_photos, understanding_scores
from unictokens.pretrain.probe import probe_scores
from unictokens.pretrain.recipe import ProbeRecipe

FOLDER = Path(str(files("unictokens"))) / "assets" / "mini"


@pytest.fixture(scope="module")
def mini() -> ShowO:
    return load("mini")


def test_package_stays_below_forty_megabytes() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 40 * 2**20


def test_card_and_config_name_the_weights_that_ship(mini: ShowO) -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["fingerprint"] == mini.info.fingerprint
    assert mini.info.fingerprint in (FOLDER / "MODEL_CARD.md").read_text()
    assert len(fingerprint(mini.language_model, mini.magvit)) == 64


def test_held_out_photos_are_understood(mini: ShowO) -> None:
    """What later work builds on; the card has the numbers of more photos."""
    least = {"place": 0.9, "class": 0.9, "colour": 0.8, "recognition": 0.85}
    photos = held_out_photos(first_seed=800_000_000, count=80)
    scores = understanding_scores(mini, photos, encode_photos(mini, photos), frozenset(least))
    assert all(scores[kind].accuracy >= accuracy for kind, accuracy in least.items()), scores


def test_codes_keep_what_tells_a_concept_from_its_lookalikes(mini: ShowO) -> None:
    """A quarter of what the card's probe learns from, so less than it reaches."""
    short = ProbeRecipe(renders=750, held_out=100, steps=600)
    (score,) = probe_scores(mini.magvit, roster(seed=0, count=1), mini.info.image_size, short, seed=0).values()
    assert score.accuracy >= 0.85, score
