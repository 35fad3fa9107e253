"""Drawings: text is read when one begins, a tick is a step of all, finished and unfinished pictures are decoded together."""

from collections.abc import Sequence

import torch

from serve.engine.asked import Draw
from serve.engine.cores import Cores
from serve.engine.counters import LaneCounters
from serve.engine.events import Drawn, Partial
from serve.engine.job import Job
from serve.engine.photos import Photos
from unictokens.backbones.steps import Canvas, Stepper
from unictokens.errors import ServeError

HIDDEN = -1
"""A code that is to be drawn."""


class Drawing:
    """Draws with one model."""

    def __init__(self, stepper: Stepper, photos: Photos, counters: LaneCounters, cores: Cores) -> None:
        self._stepper = stepper
        self._photos = photos
        self._counters = counters
        self._cores = cores

    def begin(self, job: Job) -> None:
        """Read the text."""
        asked = _asked(job)
        start_N = None
        if asked.picture_CHW is not None and asked.redraw_N is not None:
            start_N = self._photos.codes(asked.picture_CHW, asked.concepts).masked_fill(asked.redraw_N, HIDDEN)
        job.work = self._stepper.open_canvas(job.ids, job.tokens, asked.sampling, asked.seed, start_N)

    def advance(self, jobs: Sequence[Job]) -> None:
        """One step of each; then pictures of those that are done and of those whose `trace` wants to see this step."""
        self._stepper.draw([_canvas(job) for job in jobs])
        self._counters.steps += len(jobs)
        shown = []
        for job in jobs:
            canvas = _canvas(job)
            if canvas.broken:
                job.fail(ServeError(f"the drawing failed: {canvas.broken}; another seed or version may do better"))
            elif canvas.finished or canvas.step in canvas.sampling.trace:
                shown.append(job)
        if not shown:
            return
        codes_BN = torch.stack([_canvas(job).codes_N for job in shown]).cpu()
        with self._cores.whole():
            pictures = self._stepper.pictures(codes_BN)
        for job, codes_N, picture_CHW in zip(shown, codes_BN, pictures, strict=True):
            canvas = _canvas(job)
            if canvas.finished:
                job.finish(Drawn(codes_N, picture_CHW))
            else:
                job.handle.tell(Partial(canvas.step, picture_CHW))

    def leave(self, job: Job) -> None:
        """Nothing is kept for a canvas but the canvas."""


def _asked(job: Job) -> Draw:
    assert isinstance(job.asked, Draw)
    return job.asked


def _canvas(job: Job) -> Canvas:
    assert isinstance(job.work, Canvas)
    return job.work
