"""Pictures and answers made while a run trains, with fixed seeds, so that epochs can be compared by eye.

They decide nothing: a preview that fails is logged and noted beside the answers, and training goes on.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from unictokens.atomic import storage_error, write_bytes
from unictokens.backbones.base import AnswerRequest, Decoding, GenerationRequest, Sampling
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokens import ConceptTokens
from unictokens.data.samples import generation_prompt, question_prompt
from unictokens.errors import UniCTokensError
from unictokens.images import View, to_pictures
from unictokens.methods.base import Setting, Stage
from unictokens.methods.draws import derive
from unictokens.methods.perception import Sighting
from unictokens.tracking.base import Tracker
from unictokens.training.bundles import existing
from unictokens.training.checkpoint import Cursor
from unictokens.training.pictures import save_png

log = logging.getLogger(__name__)

ANSWER = Decoding(max_tokens=32)


@dataclass(frozen=True)
class Question:
    """A preview question about a picture."""

    text: str
    photo: Path


class Previewer:
    """Makes previews of one run into `folder` (previews/*.png, answers.jsonl) and sends the pictures to the tracker."""

    def __init__(self, setting: Setting, folder: Path, tracker: Tracker) -> None:
        self._setting = setting
        self._folder = folder
        self._tracker = tracker

    def due(self, stage: Stage, epoch: int) -> bool:
        """Whether the end of this epoch gets a preview: every `preview.every` epochs and at the end of each stage."""
        every = self._setting.config.preview.every
        return every > 0 and (epoch % every == 0 or epoch == stage.config.epochs)

    def make(self, cursor: Cursor, stage: Stage, tokens: ConceptTokens, step: int) -> None:
        """Draw and ask; `step` is the tracker's step. Never raises for what a backbone, a photo or the disk refuses."""
        try:
            self._draw(cursor, stage, tokens, step)
            self._ask(cursor, stage, tokens)
        except (UniCTokensError, RuntimeError, OSError) as error:
            log.warning(
                "preview of '%s' after %s %d failed: %s", self._setting.record.name, stage.name, cursor.epoch, error
            )
            self._note(cursor, [{"error": " ".join(str(error).split())}])

    def show(self, stage: Stage, sightings: tuple[Sighting, ...], step: int) -> None:
        """Keep the pictures that perception drew: early, late and finished codes decoded, and what was taken from them.

        Like `make`, it never stops a run.
        """
        try:
            for number, sighting in enumerate(sightings):
                for name, picture in self._stages_of(sighting).items():
                    file = self._folder / "perception" / f"{stage.name}_{number:02d}_{name}.png"
                    save_png(file, picture)
                    self._tracker.image(f"perception/{number:02d}_{name}", step, file)
        except (UniCTokensError, RuntimeError, OSError) as error:
            log.warning("perception pictures of '%s' were not kept: %s", self._setting.record.name, error)

    def _stages_of(self, sighting: Sighting) -> dict[str, Image.Image]:
        backbone = self._setting.backbone
        moments = {"early": sighting.early_N, "late": sighting.late_N, "final": sighting.final_N}
        pictures = {name: to_pictures(backbone.decode(codes_N[None]))[0] for name, codes_N in moments.items()}
        return {**pictures, "region": sighting.view}

    def _draw(self, cursor: Cursor, stage: Stage, tokens: ConceptTokens, step: int) -> None:
        setting, preview = self._setting, self._setting.config.preview
        present = existing(setting.config.layout, stage.config.subject, tokens.rows)
        prompt = generation_prompt(setting.config.layout, present)
        requests = [
            GenerationRequest(prompt, derive(setting.config.seed, "preview", number))
            for number in range(preview.images)
        ]
        sampling = Sampling(
            steps=preview.sampling.steps, guidance=preview.sampling.guidance, temperature=preview.sampling.temperature
        )
        drawings = setting.backbone.generate(requests, ConceptBank.stack([tokens]), sampling)
        for number, drawing in enumerate(drawings):
            picture = to_pictures(setting.backbone.decode(drawing.codes_N[None]))[0]
            file = self._folder / "previews" / f"{stage.name}_{cursor.epoch:04d}_{number}.png"
            save_png(file, picture)
            self._tracker.image(f"preview/{number}", step, file)

    def _ask(self, cursor: Cursor, stage: Stage, tokens: ConceptTokens) -> None:
        setting = self._setting
        groups = existing(setting.config.layout, stage.config.introduction, tokens.rows)
        requests = []
        for question in self.questions():
            prompt = question_prompt(setting.record, setting.config.layout, groups, question.text)
            requests.append(AnswerRequest(prompt, self._codes(question.photo), names=(setting.record.name,)))
        answers = setting.backbone.answer(requests, ConceptBank.stack([tokens]), ANSWER)
        self._note(
            cursor,
            [
                {"question": question.text, "photo": question.photo.name, "answer": answer.strip()}
                for question, answer in zip(self.questions(), answers, strict=True)
            ],
        )

    def questions(self) -> tuple[Question, ...]:
        """Two or three fixed questions: the concept's photo, a look-alike where there is one, and its description."""
        record = self._setting.record
        name = f"<{record.name}>"
        look_alikes = (*record.hard_negatives, *record.random_negatives)
        negatives = tuple(Question(f"Is {name} in the photo?", photo) for photo in look_alikes[:1])
        photo = record.photos[0]
        return (Question(f"Is {name} in the photo?", photo), *negatives, Question(f"Describe {name}.", photo))

    def _codes(self, photo: Path) -> Tensor:
        size = self._setting.backbone.info.image_size
        return self._setting.codes.codes(photo, View(size, size))

    def _note(self, cursor: Cursor, entries: list[dict[str, Any]]) -> None:
        """Write the answers of an epoch, in place of any that a lost continuation of the run had written for it."""
        path = self._folder / "answers.jsonl"
        place = {"stage": cursor.stage, "epoch": cursor.epoch}
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except OSError as error:
            raise storage_error(error, path, "read") from error
        kept = [line for line in lines if {key: json.loads(line)[key] for key in place} != place]
        fresh = [json.dumps({**place, **entry}, ensure_ascii=False) for entry in entries]
        write_bytes(path, "".join(line + "\n" for line in (*kept, *fresh)).encode())
