"""Class numbers of photos and individuals, and the losses that are told by them."""

import numpy as np
import torch

from unictokens.backbones.showo.vocabulary import IGNORE
from unictokens.data.toyland import random_photo, residents
from unictokens.pretrain.attributes import (
    SIZES,
    UNSEEN,
    attribute_loss,
    attributes_of,
    attributes_of_subject,
    match_loss,
)
from unictokens.pretrain.pool import photo_of


def test_attributes_are_classes_in_range() -> None:
    for seed in range(50):
        levels = attributes_of(photo_of(seed))
        assert len(levels) == len(SIZES)
        for at, (level, size) in enumerate(zip(levels, SIZES, strict=True)):
            assert 0 <= level < size or (at == 2 and level == UNSEEN and photo_of(seed).pattern == "plain")


def test_names_of_residents_tell_their_looks() -> None:
    """The table behind the names has a subject's lasting attributes, exactly as its photos have them."""
    for name, subject in residents().items():
        levels = attributes_of_subject(subject)
        photo = random_photo(np.random.default_rng(0), subject)
        for lasting, shown in zip(levels, attributes_of(photo), strict=True):
            assert lasting in (shown, UNSEEN), name
        assert UNSEEN not in levels[-7:]


def test_a_lookalike_weighs_as_much_as_a_stranger() -> None:
    shared_MA = torch.tensor([[1, 1, 1, 0], [1, 1, 1, IGNORE]])
    unsure = match_loss(torch.zeros(2, 4), shared_MA)
    right = match_loss(torch.where(shared_MA == 1, 9.0, -9.0), shared_MA)
    assert torch.isclose(unsure, torch.tensor(2 * np.log(2), dtype=torch.float32)) and right < 1e-3
    assert match_loss(torch.where(shared_MA == 1, 9.0, 9.0), shared_MA) > 8
    stranger_MA = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    missed = torch.tensor(
        [[9.0, 9.0, 9.0, 9.0], [9.0, -9.0, -9.0, -9.0]]
    )  # the lookalike alone was taken for the resident
    assert torch.isclose(match_loss(missed, stranger_MA), torch.tensor(9.0 / 2), atol=1e-2)
    assert match_loss(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.long)) == 0


def test_unknown_attributes_weigh_nothing() -> None:
    logits_BL = torch.randn(2, sum(SIZES))
    known_BA = torch.tensor([attributes_of(photo_of(1)), attributes_of(photo_of(2))])
    half_BA = torch.stack([known_BA[0], torch.full_like(known_BA[1], IGNORE)])
    assert torch.allclose(attribute_loss(logits_BL, half_BA), attribute_loss(logits_BL[:1], known_BA[:1]))
    assert attribute_loss(logits_BL, torch.full_like(known_BA, IGNORE)) == 0
