"""The engine: a model that draws and answers at the same time, each task in a thread of its own.

    engine = Engine(ShowOStepper(backbone), load)      # load: a reference to its ConceptBundle
    engine.start()
    handle = engine.submit(Ask(user="ada", turns=(Turn(question),), concepts=(reference,)))
    for event in handle.events(): ...

A turn of a task advances its requests by one step in one pass; new ones join and finished ones leave between passes. No task waits
for the other's passes: the system divides the processor between their threads, a GPU takes their work as it comes. Requests are
refused at the door when they can be: the prompt is tokenized, concepts are loaded and room is looked for in the thread that submits.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable

from serve.engine.answering import Answering
from serve.engine.asked import Ask, Asked, Draw, learned_rows
from serve.engine.cores import Cores
from serve.engine.counters import Counters
from serve.engine.drawing import Drawing
from serve.engine.events import Accepted, Event, Handle
from serve.engine.job import Job
from serve.engine.lane import Lane
from serve.engine.photos import Photos
from serve.engine.settings import EngineSettings
from serve.engine.shelf import ConceptShelf, Kept, Load
from unictokens.backbones.steps import Stepper
from unictokens.concepts.card import ConceptCard
from unictokens.errors import Busy, Cancelled, ConfigError, RequestError, ServeError

log = logging.getLogger(__name__)

NAP = 0.05
"""Seconds between looks at whether a stopping engine is done."""


class Engine:
    """Serves one model. `submit`, `cancel` and the counters may be used from any thread; `tick` instead of `start`, by one."""

    def __init__(
        self,
        stepper: Stepper,
        load: Load,
        settings: EngineSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.counters = Counters()
        self.stepper = stepper
        self.shelf = ConceptShelf(
            load, stepper.info, stepper.device, self.settings.concept_bytes, self.counters.concepts
        )
        self._clock = clock
        self._wake = threading.Condition()
        self._accepting = True
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._cores = Cores(stepper.device)
        self._photos = Photos(stepper, self.settings.photos, self.counters, self.shelf.__contains__, self._cores)
        drawing = Drawing(stepper, self._photos, self.counters.drawing, self._cores)
        answering = Answering(stepper, self._photos, self.counters.answering, clock)
        limit, wake = self.settings.tick_seconds, self._wake
        self._answering = Lane(answering, self.settings.speeches, limit, self.counters.answering, clock, wake)
        self._drawing = Lane(drawing, self.settings.canvases, limit, self.counters.drawing, clock, wake)
        self._lanes = (self._answering, self._drawing)

    @property
    def alive(self) -> bool:
        """Whether its threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def accepting(self) -> bool:
        """Whether it takes new requests; not when it is draining or closed."""
        return self._accepting

    def start(self) -> None:
        """Begin to serve, in threads of its own. Raises ConfigError when it has begun before."""
        if self._threads:
            raise ConfigError("this engine was started before: make a new one")
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in self._lanes]
        for thread in self._threads:
            thread.start()

    def submit(self, asked: Asked, on_event: Callable[[Event], None] | None = None) -> Handle:
        """Take a request; its events go to `on_event`, in a thread of the engine, or to the handle.

        Raises RequestError, ConceptError or StorageError for a request that cannot be served, Busy for want of room.
        """
        lane = self._lane(asked)
        try:
            self._require_room(lane, asked.user)
            ids, cost = self._measure(asked)
            kept = self._take(asked)
        except Busy:
            lane.counters.refused += 1
            raise
        handle = Handle(on_event)
        seconds = min(asked.seconds or math.inf, self.settings.longest_seconds)
        now = self._clock()
        job = Job(
            asked=asked,
            handle=handle,
            ids=ids,
            kept=kept,
            release=self.shelf.release,
            counters=lane.counters,
            clock=self._clock,
            cost=cost,
            submitted=now,
            deadline=now + seconds,
        )
        with self._wake:
            try:
                self._require_room(lane, asked.user)
            except Busy:
                self._release(kept)
                lane.counters.refused += 1
                raise
            lane.counters.submitted += 1
            handle.tell(Accepted(len(lane.line)))
            lane.line.push(job)
            self._wake.notify_all()
        return handle

    def cancel(self, handle: Handle) -> None:
        """Stop a request between two steps; one that has ended is left as it is."""
        handle.cancel()
        with self._wake:
            self._wake.notify_all()

    def card(self, reference: Hashable) -> ConceptCard:
        """What a concept says about itself; it is loaded for that. Raises ConceptError or StorageError."""
        return self.shelf.card(reference)

    def forget(self, which: Callable[[Hashable], bool]) -> None:
        """Drop the concepts whose references `which` picks, and what is kept of pictures that were asked about with them.

        Requests that use them finish.
        """
        self.shelf.forget(which)
        self._photos.forget(which)

    def tick(self) -> bool:
        """A turn of each task; False when there was nothing to do. For who does not `start` the engine."""
        return any([self._turn(lane) for lane in self._lanes])

    def drain(self, seconds: float = math.inf) -> bool:
        """Take no more requests and finish those there are; False when that takes longer."""
        self._accepting = False
        until = time.monotonic() + seconds
        while any(lane.busy for lane in self._lanes):
            if time.monotonic() > until:
                return False
            if self.alive:
                time.sleep(NAP)
            else:
                self.tick()
        return True

    def close(self, seconds: float = 60.0) -> None:
        """End every request that is not finished, and the thread."""
        self._accepting = False
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(seconds)
        if not self._threads:
            self._end()

    def _run(self, lane: Lane) -> None:
        try:
            while self._wait(lane):
                self._cores.share(sum(each.busy for each in self._lanes))
                self._turn(lane)
        finally:  # should one lane itself be broken, nobody waits for ever
            self._accepting = False
            with self._wake:
                self._closing = True
                self._wake.notify_all()
            self._end(lane)

    def _wait(self, lane: Lane) -> bool:
        """Until there is work; False when the engine is to end."""
        with self._wake:
            while not self._closing and not lane.busy:
                self._wake.wait()
            return not self._closing

    def _turn(self, lane: Lane) -> bool:
        """One pass of a lane; False when it had nothing to do."""
        lane.sweep()
        if not lane.busy:
            return False
        try:
            lane.turn()
        except Exception as error:  # the model's, of a pass: those who shared it end, the engine goes on
            log.exception("a pass failed")
            self.counters.broken_ticks += 1
            lane.abort(ServeError(f"the model failed ({type(error).__name__}: {error}): try again"))
        self.counters.prefix_hits, self.counters.prefix_misses = self.stepper.prefix_reads
        return True

    def _end(self, *lanes: Lane) -> None:
        for lane in lanes or self._lanes:
            lane.clear(Cancelled("the server is stopping: ask again"))
        self._photos.clear()

    def _lane(self, asked: Asked) -> Lane:
        return self._drawing if isinstance(asked, Draw) else self._answering

    def _require_room(self, lane: Lane, user: str) -> None:
        if not self._accepting:
            raise Busy("the server is stopping: ask another, or again later", 5.0)
        waiting, of_user = len(lane.line), lane.line.of(user)
        if waiting < self.settings.waiting and of_user < self.settings.waiting_of_user:
            return
        done = lane.counters.done
        pace = lane.counters.busy_seconds / done if done else 1.0
        after = min(60.0, max(1.0, math.ceil(pace * of_user if waiting < self.settings.waiting else pace)))
        who = f"{of_user} of your requests wait" if waiting < self.settings.waiting else f"{waiting} requests wait"
        raise Busy(f"the server is busy, {who}: try again in {after:.0f} s", after)

    def _measure(self, asked: Asked) -> tuple[list[int], float]:
        """Text ids, and roughly how much work a request is among those of its kind."""
        if isinstance(asked, Draw):
            rows = 2 if asked.sampling.guidance > 0.0 else 1
            self._require_picture(asked)
            return self.stepper.drawing_ids(asked.prompt), float(asked.sampling.steps * rows)
        self._require_picture(asked)
        return self.stepper.question_ids(asked.turns, asked.decoding.max_tokens), float(asked.decoding.max_tokens)

    def _require_picture(self, asked: Asked) -> None:
        info = self.stepper.info
        wanted = (3, info.image_size, info.image_size)
        if asked.picture_CHW is not None and tuple(asked.picture_CHW.shape) != wanted:
            raise RequestError(f"the picture is {tuple(asked.picture_CHW.shape)}, the model reads {wanted}: resize it")
        if isinstance(asked, Draw) and asked.redraw_N is not None:
            if tuple(asked.redraw_N.shape) != (info.codes,):
                raise RequestError(f"the mask is {tuple(asked.redraw_N.shape)}, a picture has {info.codes} codes")
            if not bool(asked.redraw_N.any()):
                raise RequestError("the mask covers nothing to draw: mark at least one place of the picture")

    def _take(self, asked: Asked) -> tuple[Kept, ...]:
        """The request's concepts, all or none; their rows must reach as far as the prompts use them."""
        if len(asked.concepts) > self.settings.concepts:
            raise RequestError(
                f"the request names {len(asked.concepts)} concepts, it may name {self.settings.concepts}: split it"
            )
        used = learned_rows(asked)
        if used and max(used) >= len(asked.concepts):
            raise RequestError(f"the prompt uses concept number {max(used)}, {len(asked.concepts)} are given: give all")
        if isinstance(asked, Ask) and asked.names and len(asked.names) != len(asked.concepts):
            raise RequestError(f"{len(asked.concepts)} concepts have {len(asked.names)} names: give one each")
        kept: list[Kept] = []
        try:
            for reference in asked.concepts:
                kept.append(self.shelf.take(reference))
            for number, row in used.items():
                if row >= kept[number].tokens.rows:
                    raise RequestError(
                        f"the prompt uses row {row} of concept '{kept[number].card.name}', which has "
                        f"{kept[number].tokens.rows}: use the layout of its card"
                    )
        except Exception:
            self._release(tuple(kept))
            raise
        return tuple(kept)

    def _release(self, kept: tuple[Kept, ...]) -> None:
        for each in kept:
            self.shelf.release(each)
