"""Answers: picture and question are read when one begins, which says its first word piece; a tick is one more of each."""

from collections.abc import Callable, Sequence

from serve.engine.asked import Ask
from serve.engine.counters import LaneCounters
from serve.engine.events import Answer, Piece
from serve.engine.job import Job
from serve.engine.photos import Photos
from unictokens.backbones.steps import Speech, Stepper
from unictokens.errors import ServeError


class Answering:
    """Answers with one model."""

    def __init__(self, stepper: Stepper, photos: Photos, counters: LaneCounters, clock: Callable[[], float]) -> None:
        self._stepper = stepper
        self._photos = photos
        self._counters = counters
        self._clock = clock

    def begin(self, job: Job) -> None:
        """Read picture and question, say the first word piece."""
        asked = job.asked
        assert isinstance(asked, Ask)
        codes_N = None if asked.picture_CHW is None else self._photos.codes(asked.picture_CHW, asked.concepts)
        job.work = self._stepper.open_speech(job.ids, codes_N, job.tokens, asked.names, asked.decoding, asked.seed)
        if codes_N is not None:
            self._photos.settle(codes_N, asked.concepts)
        self._counters.first.add(self._clock() - job.submitted)
        self._hear(job)

    def advance(self, jobs: Sequence[Job]) -> None:
        """One more word piece of each."""
        self._stepper.speak()
        for job in jobs:
            self._hear(job)

    def leave(self, job: Job) -> None:
        """Forget what was read and said."""
        if isinstance(job.work, Speech):
            self._stepper.close_speech(job.work)

    def _hear(self, job: Job) -> None:
        speech = job.work
        assert isinstance(speech, Speech)
        if speech.broken:
            job.fail(ServeError(f"the answer failed: {speech.broken}; another version of the concept may do better"))
            return
        self._counters.steps += 1
        if piece := self._stepper.heard(speech):
            job.handle.tell(Piece(piece))
        if speech.stopped:
            text = self._stepper.text(speech)
            job.finish(Answer(text, speech.stopped, len(speech.ids), len(job.ids)))
