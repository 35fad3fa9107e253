"""The shipped CLIP knows Toyland's concepts from lookalikes, and captions from each other."""

import numpy as np
import torch

from unictokens.data.toyland import full_description, hard_negative, random_photo, random_subject, render
from unictokens.encoders.clip import TOYLAND, Clip


def test_it_fits_the_package() -> None:
    assert sum(file.stat().st_size for file in TOYLAND.iterdir()) <= 10_000_000


def test_photos_find_their_caption_and_the_same_individual() -> None:
    clip, rng = Clip(), np.random.default_rng(41)
    subjects = [random_subject(rng) for _ in range(60)]
    first, twin, other = (
        [random_photo(rng, each) for each in some]
        for some in (subjects, subjects, [hard_negative(each, rng) for each in subjects])
    )
    first_PE, twin_PE, other_PE = (
        clip.pictures([render(photo, 64) for photo in some]) for some in (first, twin, other)
    )
    said_PE = clip.texts([full_description(photo) for photo in first])
    assert float(((first_PE @ said_PE.T).argmax(1) == torch.arange(60)).float().mean()) >= 0.95
    own_P, like_P = (first_PE * twin_PE).sum(1), (first_PE * other_PE).sum(1)
    strangers = float((first_PE @ first_PE.roll(1, 0).T).diagonal().mean())
    assert float((own_P > like_P).float().mean()) >= 0.8
    assert float(own_P.mean()) > float(like_P.mean()) + 0.1 > strangers + 0.4
