"""Ways to serve with one model, for comparison: the engine; whole requests in fixed groups, as `@serve.batch` forms them; one at a time."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from serve.engine.asked import Ask, Asked, Draw
from serve.engine.engine import Engine
from serve.engine.events import Done, Event, Failed, Piece
from serve.engine.settings import EngineSettings
from serve.engine.shelf import Load
from unictokens.backbones.base import AnswerRequest, GenerationRequest
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokens import ConceptTokens


@dataclass(eq=False)
class Ticket:
    """A request and when what happened to it, in seconds of `time.perf_counter`; `first` is the first word of an answer."""

    asked: Asked
    came: float = field(default_factory=time.perf_counter)
    first: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    end: float = 0.0
    error: Exception | None = None

    def say(self) -> None:
        """A word was said."""
        self.first = self.first or time.perf_counter()

    def finish(self, error: Exception | None = None) -> None:
        """The request is done, or failed; an answer without a word has its first word now."""
        self.error = error
        self.end = time.perf_counter()
        self.first = self.first or self.end
        self.ended.set()


class Server(Protocol):
    """Takes requests from any thread."""

    def submit(self, ticket: Ticket) -> None: ...

    def close(self) -> None: ...


class Batching:
    """The engine: requests join and leave between steps."""

    def __init__(self, backbone: ShowO, load: Load, settings: EngineSettings) -> None:
        self._engine = Engine(ShowOStepper(backbone), load, settings)
        self._engine.start()

    def submit(self, ticket: Ticket) -> None:
        """Put a request in line."""

        def listen(event: Event) -> None:
            if isinstance(event, Piece):
                ticket.say()
            if isinstance(event, Failed):
                ticket.finish(event.error)
            if isinstance(event, Done):
                ticket.finish()

        self._engine.submit(ticket.asked, listen)

    def close(self) -> None:
        """End the thread."""
        self._engine.close()


class Grouped:
    """Groups of whole requests of one kind: a group begins when the one before has ended, and ends together.

    drawings, answers  most requests of a group
    wait               seconds for which the first of a group waits for others
    kept               concepts in memory, least recently used first out
    Words are streamed as they are decided, which flatters this way: a plain batched function returns whole answers.
    """

    def __init__(self, backbone: ShowO, load: Load, drawings: int, answers: int, wait: float, kept: int) -> None:
        self._backbone = backbone
        self._load = load
        self._most = {Draw: drawings, Ask: answers}
        self._waiting: dict[type, deque[Ticket]] = {Draw: deque(), Ask: deque()}
        self._wait = wait
        self._kept = kept
        self._tokens: OrderedDict[Hashable, ConceptTokens] = OrderedDict()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Put a request in line."""
        with self._changed:
            self._waiting[type(ticket.asked)].append(ticket)
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next():
            error = None
            try:
                if isinstance(group[0].asked, Draw):
                    self._draw(group)
                else:
                    self._answer(group)
            except Exception as failed:  # whoever waits for these tickets is told
                error = failed
            for ticket in group:
                ticket.finish(error)

    def _next(self) -> list[Ticket]:
        """The next group, of the kind whose first request has waited longest; empty at the end."""
        with self._changed:
            while not self._closing:
                heads = [(line[0].came, kind) for kind, line in self._waiting.items() if line]
                if not heads:
                    self._changed.wait()
                    continue
                came, kind = min(heads, key=lambda head: head[0])
                line, left = self._waiting[kind], came + self._wait - time.perf_counter()
                if len(line) >= self._most[kind] or left <= 0.0:
                    return [line.popleft() for _ in range(min(len(line), self._most[kind]))]
                self._changed.wait(left)
        return []

    def _draw(self, group: list[Ticket]) -> None:
        asked = [ticket.asked for ticket in group]
        first, bank = asked[0], self._bank(asked)
        assert isinstance(first, Draw)
        requests = [
            GenerationRequest(one.prompt, one.seed, (at,)) for at, one in enumerate(asked) if isinstance(one, Draw)
        ]
        drawings = self._backbone.generate(requests, bank, first.sampling)
        self._backbone.decode(torch.stack([drawing.codes_N for drawing in drawings]))

    def _answer(self, group: list[Ticket]) -> None:
        asked = [ticket.asked for ticket in group if isinstance(ticket.asked, Ask)]
        pictures = torch.stack([one.picture_CHW for one in asked if one.picture_CHW is not None])
        codes_BN, bank = self._backbone.encode(pictures), self._bank(asked)
        requests = [
            AnswerRequest(one.turns[-1].question, codes_BN[at], (at,), one.names) for at, one in enumerate(asked)
        ]
        generator = torch.Generator().manual_seed(asked[0].seed)
        self._backbone.answer(requests, bank, asked[0].decoding, generator, lambda at, _: group[at].say())

    def _bank(self, asked: list[Asked] | list[Ask]) -> ConceptBank:
        return ConceptBank.stack([self._rows(one.concepts[0]) for one in asked])

    def _rows(self, reference: Hashable) -> ConceptTokens:
        found = self._tokens.pop(reference, None)
        self._tokens[reference] = found = found or self._load(reference).tokens
        if len(self._tokens) > self._kept:
            self._tokens.popitem(last=False)
        return found
