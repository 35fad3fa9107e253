"""What a photo shows as class numbers: dense supervision of the base's view of images, by heads that are dropped afterwards.

Answers are a few words per photo; these fifteen numbers per photo tell a net at once what to look for, fine identity
included, for which the base has no words. One head makes the image tokenizer spend its bits on them, one the transformer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unictokens.data.toyland.world import ACCESSORIES, CLASSES, COLOURS, LEVELS, PATTERNS, PLACES, Photo, Subject

ATTRIBUTES = {
    "class": len(CLASSES),
    "colour": len(COLOURS),
    "second colour": len(COLOURS),
    "pattern": len(PATTERNS),
    "accessory": len(ACCESSORIES),
    "accessory colour": len(COLOURS) + 1,
    "place": len(PLACES),
    "flip": 2,
    **LEVELS,
}
"""Attributes and their numbers of classes."""
SIZES = tuple(ATTRIBUTES.values())
UNSEEN = -100
"""What cross-entropy ignores."""


def attributes_of(photo: Photo) -> list[int]:
    """Class numbers of a photo, in the order of `SIZES`; UNSEEN for the second colour where nothing has it."""
    fine = photo.subject.fine
    one_colour = photo.pattern == "plain" and photo.subject.kind != "person"
    return [
        CLASSES.index(photo.subject.cls),
        COLOURS.index(photo.subject.colour),
        UNSEEN if one_colour else COLOURS.index(photo.second),
        PATTERNS.index(photo.pattern),
        ACCESSORIES.index(photo.accessory),
        len(COLOURS) if photo.accessory_colour is None else COLOURS.index(photo.accessory_colour),
        PLACES.index(photo.place),
        int(photo.pose.flip),
        *(getattr(fine, name) for name in LEVELS),
    ]


def attributes_of_subject(subject: Subject) -> list[int]:
    """Class numbers of what a subject looks like in every photo, in the order of `SIZES`; UNSEEN for all else."""
    looks = [
        CLASSES.index(subject.cls),
        COLOURS.index(subject.colour),
        UNSEEN if subject.second is None or subject.pattern == "plain" else COLOURS.index(subject.second),
        UNSEEN if subject.pattern is None else PATTERNS.index(subject.pattern),
    ]
    levels = [getattr(subject.fine, name) for name in LEVELS]
    return looks + [UNSEEN] * (len(SIZES) - len(looks) - len(levels)) + levels


class AttributeHead(nn.Module):
    """Linear classifiers on the mean of the image's hidden states and on the state of its end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.linear = nn.Linear(2 * width, sum(SIZES))

    def forward(self, image_BND: Tensor) -> Tensor:
        """Hidden states [B, N, D] of an image block, its end last, to logits float32 [B, sum of SIZES]."""
        pooled_BD = torch.cat([image_BND.mean(dim=1), image_BND[:, -1]], dim=1)
        return self.linear(self.norm(pooled_BD)).float()

    def of_words(self, word_MD: Tensor) -> Tensor:
        """States [M, D] of words that stand for individuals to logits float32 [M, sum of SIZES].

        The same classifiers read both, so a word and a picture of the same individual come to look alike inside.
        """
        return self(word_MD[:, None])


class MatchHead(nn.Module):
    """Linear classifiers on the place from which yes or no is said about an individual in a photo.

    "No" to a lookalike does not tell which of many looks was wrong, and to compare them is hardly ever found by itself; told
    step by step, it is: first what both look like (`gathered`, inside), then what is the same (`matches`, at the end).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.looks = nn.Linear(width, 2 * sum(SIZES))
        self.same = nn.Linear(width, len(SIZES))

    def gathered(self, inside_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Inner states to logits float32 [M, sum of SIZES] of what the individual, and what the photo's figure, looks like."""
        known_ML, shown_ML = self.looks(self.inner(inside_MD)).float().chunk(2, dim=1)
        return known_ML, shown_ML

    def matches(self, h_MD: Tensor) -> Tensor:
        """Final states to logits float32 [M, A] that an attribute is the same."""
        return self.same(self.outer(h_MD)).float()


class CodeHead(nn.Module):
    """A small convolutional net on the bits of a picture's codes, with as many outputs as it is asked for."""

    def __init__(self, bits: int, outputs: int = sum(SIZES), width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(bits, width, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * width, outputs),
        )

    def forward(self, bits_BCHW: Tensor) -> Tensor:
        """Bits [B, C, H, W] to logits float32 [B, outputs]."""
        return self.layers(bits_BCHW).float()


def attribute_loss(logits_BL: Tensor, attributes_BA: Tensor, weights_A: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over photos and attributes; attributes int64 [B, A], -100 where unknown.

    weights_A  float32 [A], how much each attribute's sum counts; 1 by default
    """
    parts = logits_BL.split(SIZES, dim=1)
    known = [functional.cross_entropy(part, attributes_BA[:, at], reduction="sum") for at, part in enumerate(parts)]
    sums_A = torch.stack(known) if weights_A is None else torch.stack(known) * weights_A
    return sums_A.sum() / (attributes_BA >= 0).sum().clamp(min=1)


def shared_looks(known_MA: Tensor, shown_MA: Tensor) -> Tensor:
    """1 where both have the same class number, 0 where they differ, UNSEEN where one of them is; int64 [M, A] all."""
    unseen_MA = (known_MA == UNSEEN) | (shown_MA == UNSEEN)
    return (known_MA == shown_MA).long().masked_fill(unseen_MA, UNSEEN)


def match_loss(logits_MA: Tensor, shared_MA: Tensor) -> Tensor:
    """Binary cross-entropy over what matches plus that over what differs, each the mean of the meetings' own means.

    Of the looks of a lookalike one differs, of a stranger's most do: counted look by look, strangers would drown lookalikes.

    shared_MA  int64 [M, A] of `shared_looks`
    """
    entropies_MA = functional.binary_cross_entropy_with_logits(
        logits_MA, shared_MA.clamp(min=0).float(), reduction="none"
    )
    return torch.stack([_mean_of_means(entropies_MA, shared_MA == kind) for kind in (1, 0)]).sum()


def _mean_of_means(values_MA: Tensor, chosen_MA: Tensor) -> Tensor:
    """The mean over rows that have chosen values of these values' mean; zero where no row has any."""
    count_M = chosen_MA.sum(dim=1)
    means_M = (values_MA * chosen_MA).sum(dim=1) / count_M.clamp(min=1)
    return means_M.sum() / (count_M > 0).sum().clamp(min=1)


def attribute_hits(logits_BL: Tensor, attributes_BA: Tensor) -> Tensor:
    """Share of right classes per attribute, float32 [A], over photos that have it."""
    parts = logits_BL.split(SIZES, dim=1)
    said_BA = torch.stack([part.argmax(dim=1) for part in parts], dim=1)
    known_BA = attributes_BA >= 0
    return ((said_BA == attributes_BA) & known_BA).sum(0) / known_BA.sum(0).clamp(min=1)
