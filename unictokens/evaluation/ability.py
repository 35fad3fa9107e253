"""What the frozen base can do apart from any concept: held-out Toyland photos asked about, held-out captions drawn and read back.

With a concept's rows present it is the same base, but not by construction the same behaviour: the rows add columns to the output
head, and an introduction ("<bo> is <soft tokens>.") stands before every question of a concept's owner. Both are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from unictokens.backbones.base import AnswerRequest, Backbone, Decoding, GenerationRequest, Sampling
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.prompt import Prompt, join
from unictokens.data.toyland import Photo, full_description
from unictokens.evaluation.toyland_reader import Reading, ToylandReader
from unictokens.images import to_pictures
from unictokens.pretrain.measure import agrees, encode_photos, held_out_photos, one_of_each_kind

ASKED = ("class", "colour", "pattern", "accessory", "place", "yesno", "choice")
"""Kinds of question, one of each per photo; an answer counts when it is the grammar's."""
READ = ("cls", "colour", "pattern", "accessory", "place")
"""What is read back from a drawing of a caption."""
AT_ONCE = 16
ANSWER = Decoding(max_tokens=24)

QUESTIONS, INTRODUCED, DRAWINGS = "questions", "questions, introduced", "drawings"
COLUMNS = (QUESTIONS, INTRODUCED, DRAWINGS)


@dataclass(frozen=True, kw_only=True)
class AbilitySettings:
    """How much is measured. `first_seed` is that of the first held-out photo: no pool of the recipe comes near it."""

    photos: int = 40
    drawings: int = 16
    steps: int = 16
    guidance: float = 3.0
    first_seed: int = 970_000_000


@dataclass(frozen=True)
class Share:
    """Right ones out of `asked`."""

    right: int
    asked: int


def measure_ability(
    backbone: Backbone, bundle: ConceptBundle | None, settings: AbilitySettings, reader: ToylandReader
) -> dict[str, Share]:
    """Shares by column; without a bundle those of the bare base, which nothing introduces.

    "questions" and "drawings" do not name the concept, whose rows are in the bank and in the head.
    """
    photos = held_out_photos(settings.first_seed, max(settings.photos, settings.drawings))
    found = {QUESTIONS: _asked(backbone, bundle, photos[: settings.photos], ())}
    if bundle is not None and (introduction := bundle.card.introduction()):
        found[INTRODUCED] = _asked(backbone, bundle, photos[: settings.photos], join(introduction, "\n"))
    found[DRAWINGS] = _drawn(backbone, bundle, photos[: settings.drawings], settings, reader)
    return found


def _asked(backbone: Backbone, bundle: ConceptBundle | None, photos: Sequence[Photo], before: Prompt) -> Share:
    codes_PN = encode_photos(backbone, photos)
    bank, names = _bank(backbone, bundle), () if bundle is None else (bundle.card.name,)
    asked = [
        (question, codes_N)
        for at, (photo, codes_N) in enumerate(zip(photos, codes_PN, strict=True))
        for question in one_of_each_kind(photo, at)
        if question.kind in ASKED
    ]
    right = 0
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        requests = [AnswerRequest(join(before, each.question), codes_N, (0,), names) for each, codes_N in part]
        said = backbone.answer(requests, bank, ANSWER)
        right += sum(agrees(each, answer) for (each, _), answer in zip(part, said, strict=True))
    return Share(right, len(asked))


def _drawn(
    backbone: Backbone,
    bundle: ConceptBundle | None,
    photos: Sequence[Photo],
    settings: AbilitySettings,
    reader: ToylandReader,
) -> Share:
    bank = _bank(backbone, bundle)
    sampling = Sampling(steps=settings.steps, guidance=settings.guidance)
    requests = [
        GenerationRequest((f"A photo of {full_description(photo)}.",), settings.first_seed + at)
        for at, photo in enumerate(photos)
    ]
    readings: list[Reading] = []
    for start in range(0, len(requests), AT_ONCE):
        for drawing in backbone.generate(requests[start : start + AT_ONCE], bank, sampling):
            readings += reader.read(to_pictures(backbone.decode(drawing.codes_N[None])))
    marks = [
        getattr(reading, name) == shown
        for photo, reading in zip(photos, readings, strict=True)
        for name, shown in zip(READ, _shows(photo), strict=True)
    ]
    return Share(sum(marks), len(marks))


def _shows(photo: Photo) -> tuple[str, ...]:
    return photo.subject.cls, photo.subject.colour, photo.pattern, photo.accessory, photo.place


def _bank(backbone: Backbone, bundle: ConceptBundle | None) -> ConceptBank:
    return ConceptBank.empty(backbone.info.width) if bundle is None else ConceptBank.stack([bundle.tokens])
