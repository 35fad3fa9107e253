"""How alike drawings are to the concept's photos (CLIP-I, DINO, Face), and to their prompts (CLIP-T).

References are the training photos. A drawing's value is the mean of its cosines to all of them, a score the mean of its drawings'.
A training photo is compared with the others (the contender "real": what a perfect drawing might get).

Mode `correct`. Mode `paper_compat` repeats what the published evaluation does:
    washed out     CLIP sees 512 px pictures whose values in [0, 1] were taken for [-1, 1]: black becomes grey, contrast is halved
    includes self  a training photo is also compared with itself, which counts as 1
    bare word      CLIP-T puts the class word where the placeholder was, also where a sentence needs "a dog" instead of "dog"
In both, "face" leaves out drawings without a face, as published; "face zero-filled" counts them as 0 and "face found" tells how
many have one. DINO was published without code: here the class token of the encoder, without quirks.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unictokens.data.records import ConceptRecord
from unictokens.data.toyland.phrases import with_article
from unictokens.encoders.base import (
    FACE_ENCODERS,
    PICTURE_ENCODERS,
    PICTURE_TEXT_ENCODERS,
    FaceEncoder,
    PictureEncoder,
    PictureTextEncoder,
)
from unictokens.errors import DataError, DependencyError
from unictokens.evaluation.contenders import REAL
from unictokens.evaluation.manifest import ALL, Drawing, Group, Manifest, Measure, Metric
from unictokens.evaluation.score import Score, Scores
from unictokens.images import View, load_image, view_image
from unictokens.lookup import resolve

COLUMNS: dict[str, tuple[Metric, Group]] = {
    "clip-i": ("clip-i", "pure"),
    "clip-t": ("clip-t", "pure"),
    "dino": ("dino", "pure"),
    "face": ("face", "portrait"),
    "face found": ("face", "portrait"),
    "face zero-filled": ("face", "portrait"),
    "knowledge clip-i": ("clip-i", "knowledge"),
}
"""Columns, their metric and the drawings they are of."""
PUBLISHED_SIDE = 512


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """What looks at drawings; in place of an encoder a text says why there is none."""

    clip: PictureTextEncoder | str
    dino: PictureEncoder | str
    face: FaceEncoder | str


def open_encoders(clip: str | None, dino: Path | None, faces: Path | None, device: str = "cpu") -> Encoders:
    """Open what is named (see `Clip`, `Dino`, `InsightFace`); what lacks its library or files is absent with the reason.

    Raises CheckpointError for damaged model files, ConfigError for an unknown CLIP.
    """
    try:
        sees = "--clip none" if clip is None else resolve(PICTURE_TEXT_ENCODERS, "clip", "encoder")(clip, device)
    except DependencyError as error:
        sees = str(error)
    try:
        looks = "no --dino was given" if dino is None else resolve(PICTURE_ENCODERS, "dino", "encoder")(dino, device)
    except DependencyError as error:
        looks = str(error)
    try:
        knows = "no --faces were given" if faces is None else resolve(FACE_ENCODERS, "antelopev2", "encoder")(faces)
    except DependencyError as error:
        knows = str(error)
    return Encoders(clip=sees, dino=looks, face=knows)


def look(
    manifests: Mapping[str, Manifest],
    record: ConceptRecord,
    encoders: Encoders,
    created: str,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Measure every contender's drawings, and the photos of "real", as far as it is not in their manifests yet.

    Raises DataError for a picture that is gone or cannot be read, StorageError.
    """
    for name, manifest in manifests.items():
        tell(f"{name}: looking at {len(manifest.drawings)} drawings")
        looker = _Looker(manifest, record, encoders, created)
        looker.clip_i()
        looker.clip_t()
        looker.dino()
        looker.face()


class _Looker:
    """One contender's pictures and the references they are compared with."""

    def __init__(self, manifest: Manifest, record: ConceptRecord, encoders: Encoders, created: str) -> None:
        self.manifest, self.record, self.encoders, self.created = manifest, record, encoders, created
        self.published = manifest.header.mode == "paper_compat"
        self.real = manifest.header.contender == REAL

    def clip_i(self) -> None:
        encoder = self.encoders.clip
        if isinstance(encoder, str):
            return self.refuse("clip-i", encoder)
        wash = washed_out if self.published else _as_it_is
        return self.alike("clip-i", encoder, ("pure", "knowledge"), wash)

    def clip_t(self) -> None:
        encoder = self.encoders.clip
        if isinstance(encoder, str) or self.real:
            return self.refuse("clip-t", "photos have no prompt" if self.real else str(encoder))
        left = self.left("clip-t", encoder.name, ("pure",))
        if left:
            wash = washed_out if self.published else _as_it_is
            seen_PE = encoder.pictures([wash(load_image(self.manifest.image(each))) for each in left])
            asked = {each.prompt: said_by(each.prompt, self.record, bare=self.published) for each in left}
            words = dict(zip(asked, encoder.texts(list(asked.values())), strict=True))
            values = [float(seen_E @ words[each.prompt]) for seen_E, each in zip(seen_PE, left, strict=True)]
            self.keep("clip-t", encoder.name, [each.file for each in left], values)

    def dino(self) -> None:
        encoder = self.encoders.dino
        if isinstance(encoder, str):
            return self.refuse("dino", encoder)
        return self.alike("dino", encoder, ("pure",), _as_it_is)

    def face(self) -> None:
        encoder = self.encoders.face
        if not self.record.is_person:
            return self.refuse("face", f"'{self.record.name}' is no person")
        if isinstance(encoder, str):
            return self.refuse("face", encoder)
        size = published_view if self.published else _as_it_is
        known = encoder.faces([size(load_image(photo)) for photo in self.record.photos])
        if self.real:
            return self.among_photos("face", encoder.name, known)
        there = [face_E for face_E in known if face_E is not None]
        if not there:
            return self.refuse("face", "no training photo shows a face")
        left = self.left("face", encoder.name, ("portrait",))
        found = encoder.faces([size(load_image(self.manifest.image(each))) for each in left])
        values = [None if face_E is None else cosines(face_E[None], torch.stack(there))[0] for face_E in found]
        return self.keep("face", encoder.name, [each.file for each in left], values)

    def alike(
        self,
        metric: Metric,
        encoder: PictureEncoder,
        groups: Sequence[Group],
        prepare: Callable[[Image.Image], Image.Image],
    ) -> None:
        left = self.left(metric, encoder.name, groups)
        if not left and not self.real:
            return None
        references_PE = encoder.pictures([prepare(load_image(photo)) for photo in self.record.photos])
        if self.real:
            return self.among_photos(metric, encoder.name, list(references_PE))
        seen_PE = encoder.pictures([prepare(load_image(self.manifest.image(each))) for each in left])
        return self.keep(metric, encoder.name, [each.file for each in left], cosines(seen_PE, references_PE))

    def among_photos(self, metric: Metric, encoder: str, known: Sequence[Tensor | None]) -> None:
        names = [photo.relative_to(self.record.root).as_posix() for photo in self.record.photos]
        done = {each.subject for each in self.manifest.measures if (each.metric, each.encoder) == (metric, encoder)}
        if done >= set(names):
            return None
        seen_PE = (
            torch.stack([each_E for each_E in known if each_E is not None])
            if any(each_E is not None for each_E in known)
            else torch.zeros(0, 1)
        )
        values = iter(photo_cosines(seen_PE, include_self=self.published))
        return self.keep(metric, encoder, names, [None if each_E is None else next(values) for each_E in known])

    def left(self, metric: Metric, encoder: str, groups: Sequence[Group]) -> list[Drawing]:
        """Drawings without a value by this encoder; raises DataError when a file is gone."""
        done = {each.subject for each in self.manifest.measures if (each.metric, each.encoder) == (metric, encoder)}
        left = [each for each in self.manifest.drawings if each.group in groups and each.file not in done]
        for each in left:
            if not self.manifest.image(each).is_file():
                raise DataError(f"'{self.manifest.image(each)}' is gone: examine the concept again in another folder")
        return left

    def keep(self, metric: Metric, encoder: str, subjects: Sequence[str], values: Sequence[float | None]) -> None:
        mode = self.manifest.header.mode
        absent = {"face": "no face was found"}.get(metric, "there is no other photo")
        if self.real and metric == "face":
            absent = "no face was found, or in no other photo"
        self.manifest.add(
            Measure(
                encoder=encoder,
                metric=metric,
                mode=mode,
                subject=subject,
                value=value,
                why=absent if value is None else "",
                created=self.created,
            )
            for subject, value in zip(subjects, values, strict=True)
        )

    def refuse(self, metric: Metric, why: str) -> None:
        earlier = [each.why for each in self.manifest.measures if (each.metric, each.subject) == (metric, ALL)]
        if earlier[-1:] != [why]:
            mode = self.manifest.header.mode
            refusal = Measure(
                encoder="", metric=metric, mode=mode, subject=ALL, value=None, why=why, created=self.created
            )
            self.manifest.add([refusal])


def cosines(seen_PE: Tensor, references_RE: Tensor) -> list[float]:
    """Of each row of unit vectors float32 [P, E] the mean cosine to all references float32 [R, E]."""
    return (seen_PE @ references_RE.T).mean(dim=1).tolist()


def photo_cosines(photos_PE: Tensor, include_self: bool) -> list[float | None]:
    """Of each photo the mean cosine to the others, or (published) to all with itself; None where there is no other."""
    count = len(photos_PE)
    near_PP = photos_PE @ photos_PE.T
    if include_self:
        return near_PP.mean(dim=1).tolist() if count else []
    if count < 2:
        return [None] * count
    return ((near_PP.sum(dim=1) - near_PP.diagonal()) / (count - 1)).tolist()


def washed_out(picture: Image.Image) -> Image.Image:
    """What the published evaluation shows to CLIP: 512 px, and each value v of [0, 1] as (v + 1) / 2, rounded to bytes."""
    pixels_HWC = np.asarray(published_view(picture), dtype=np.float32)
    return Image.fromarray(np.rint((pixels_HWC + 255.0) / 2.0).astype(np.uint8))


def published_view(picture: Image.Image) -> Image.Image:
    """The short side at 512 px, bicubic, and the square in the middle."""
    return view_image(picture, View(PUBLISHED_SIDE, PUBLISHED_SIDE))


def said_by(prompt: str, record: ConceptRecord, bare: bool = False) -> str:
    """A prompt with the class in place of the concept's name: "A photo of <bo>." says "A photo of a dog.", "a <bo>" says "a dog".

    bare  never with an article of ours, as published: "A photo of dog."
    """
    name = f"<{record.name}>"
    if not bare:
        prompt = re.sub(rf"(^|\bof |\band ){re.escape(name)}", rf"\g<1>{with_article(record.cls)}", prompt)
    return prompt.replace(name, record.cls)


def similarity_scores(manifest: Manifest) -> Scores:
    """The columns of `COLUMNS`, from the manifest alone; each by the encoder that measured last."""
    return {column: _score(manifest, column, *of) for column, of in COLUMNS.items()}


def _score(manifest: Manifest, column: str, metric: Metric, group: Group) -> Score:
    of_metric = [each for each in manifest.measures if each.metric == metric]
    measured = [each for each in of_metric if each.subject != ALL]
    if not measured:
        return Score(None, 0, of_metric[-1].why if of_metric else "no encoder has looked")
    encoder = measured[-1].encoder
    by_subject = {each.subject: each for each in measured if each.encoder == encoder}
    if manifest.header.contender == REAL:
        if column == "knowledge clip-i":
            return Score(None, 0, "photos have no prompt")
        found = list(by_subject.values())
    else:
        files = [each.file for each in manifest.drawings if each.group == group]
        missing = sum(file not in by_subject for file in files)
        if missing:
            return Score(None, 0, f"'{encoder}' has not looked at {missing} of {len(files)}")
        found = [by_subject[file] for file in files]
    values = [each.value for each in found if each.value is not None]
    if column == "face found":
        return Score.mean([float(each.value is not None) for each in found], "no drawings")
    if column == "face zero-filled":
        return Score.mean([each.value or 0.0 for each in found], "no drawings")
    return Score.mean(values, found[0].why if found else "no drawings")


def _as_it_is(picture: Image.Image) -> Image.Image:
    return picture
