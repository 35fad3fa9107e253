"""How new rows begin, one function per rule of `config.Initializer`.

Only embeddings have rules. Output-head rows and biases always begin as those of the image codes with the same row numbers,
as in the published code (a side effect of how it grows the vocabulary, kept because it decides results).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from unictokens.config import Initializer
from unictokens.data.records import ConceptRecord
from unictokens.encoders.base import FACE_ENCODERS, FaceEncoder
from unictokens.errors import ConfigError, TrainingError
from unictokens.images import View, load_image
from unictokens.lookup import resolve
from unictokens.methods.base import Setting, Stage
from unictokens.methods.clustering import centres
from unictokens.methods.perception import Sighting, seen_rows


@dataclass(frozen=True)
class Start:
    """What a rule may look at: the run, the stage that begins, and the pictures drawn for the rules in LOOKING.

    Photos that several groups look at are encoded once.
    """

    setting: Setting
    stage: Stage
    sightings: tuple[Sighting, ...] = ()

    @cached_property
    def photo_codes_PN(self) -> Tensor:
        """Codes int64 [photos, N] of the training photos, centre-cropped, mirrored with the stage's probability."""
        setting, size = self.setting, self.setting.backbone.info.image_size
        photos = setting.record.photos
        flips = setting.draws.flips(self.stage.name, len(photos), self.stage.config.flip)
        views = [View(size, size, flip=flip) for flip in flips]
        return torch.stack([setting.codes.codes(photo, view) for photo, view in zip(photos, views, strict=True)])


def class_word(start: Start, rows: tuple[int, ...]) -> Tensor:
    """Every row is the mean of the embeddings of the class word's pieces (paper section 3.3)."""
    pieces_nD = start.setting.backbone.word_rows(start.setting.record.cls)
    return pieces_nD.mean(0).expand(len(rows), -1).clone()


def kmeans_images(start: Start, rows: tuple[int, ...]) -> Tensor:
    """Centres of the embeddings of all codes of all training photos (paper section 3.3)."""
    return centres(start.setting.backbone.image_rows(start.photo_codes_PN.flatten()), len(rows))


def face(start: Start, rows: tuple[int, ...]) -> Tensor:
    """The mean face vector cut in as many pieces as rows, each stretched to the width (published code, no scaling)."""
    encoder: FaceEncoder = resolve(FACE_ENCODERS, "antelopev2", "face encoder")()
    record: ConceptRecord = start.setting.record
    vector_E = encoder.embed([load_image(photo) for photo in record.photos]).mean(0)
    return stretch(vector_E, len(rows), start.setting.backbone.info.width)


def stretch(vector_E: Tensor, rows: int, width: int) -> Tensor:
    """`vector_E` float32 [E] as `rows` pieces, linearly interpolated to [rows, width]; ConfigError if E is no multiple."""
    if vector_E.numel() % rows:
        raise ConfigError(
            f"a face vector of {vector_E.numel()} numbers cannot be cut in {rows} rows: choose a layout.generation "
            "that divides it"
        )
    pieces_K1E = vector_E.reshape(rows, 1, -1)
    return interpolate(pieces_K1E, size=width, mode="linear", align_corners=False)[:, 0]


def image_codes(start: Start, rows: tuple[int, ...]) -> Tensor:
    """The embeddings of the image codes with the same numbers (published code, every concept that is no person)."""
    return start.setting.backbone.image_rows(torch.tensor(rows))


def perception(start: Start, rows: tuple[int, ...]) -> Tensor:
    """Centres of what the perception step saw (paper section 3.4)."""
    order = start.setting.draws.perception_order(len(start.sightings))
    vectors_MD = seen_rows(start.setting.backbone, start.sightings, order)
    if vectors_MD.shape[0] < len(rows):
        raise TrainingError(
            f"perception saw {vectors_MD.shape[0]} changing places for {len(rows)} rows: raise perception.images, "
            "watch steps further apart, or set perception.regions=painted"
        )
    return centres(vectors_MD, len(rows))


def full_image(start: Start, rows: tuple[int, ...]) -> Tensor:
    """Centres over all codes of the drawn pictures: perception without its regions (ablation)."""
    finished = torch.cat([sighting.final_N for sighting in start.sightings])
    return centres(start.setting.backbone.image_rows(finished), len(rows))


def random_patch(start: Start, rows: tuple[int, ...]) -> Tensor:
    """Embeddings of codes at random places of the drawn pictures: perception without looking (ablation)."""
    finished = torch.cat([sighting.final_N for sighting in start.sightings])
    generator = start.setting.draws.generator("random_patch", start.stage.name)
    picks = torch.randperm(finished.numel(), generator=generator)[: len(rows)]
    return start.setting.backbone.image_rows(finished[picks.to(finished.device)])


def random(start: Start, rows: tuple[int, ...]) -> Tensor:
    """Normal numbers with the spread of the photos' image rows: as long as they are, and about nothing (ablation)."""
    spread = start.setting.backbone.image_rows(start.photo_codes_PN.flatten()).std()
    generator = start.setting.draws.generator("random", start.stage.name)
    return torch.randn(len(rows), start.setting.backbone.info.width, generator=generator) * spread.cpu()


INITIALIZERS: dict[Initializer, Callable[[Start, tuple[int, ...]], Tensor]] = {
    "class_word": class_word,
    "kmeans_images": kmeans_images,
    "face": face,
    "image_codes": image_codes,
    "perception": perception,
    "full_image": full_image,
    "random_patch": random_patch,
    "random": random,
}
"""Rule to function: `(start, row numbers) -> float32 [rows, D]`."""

LOOKING: frozenset[Initializer] = frozenset({"perception", "full_image", "random_patch"})
"""Rules that need pictures of the concept, drawn with the rows that exist already."""
