"""A model without a model: drawings count their steps, answers spell their seed, and everything that is asked is noted.

Beside it what tests ask of it, and an engine around it, whose turns `run` takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from serve.engine.asked import Ask, Draw
from serve.engine.engine import Engine
from serve.engine.events import Event, Handle
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import BackboneInfo, Decoding, Sampling, Turn
from unictokens.backbones.steps import Canvas, Speech
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Prompt
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ConceptError, RequestError, StorageError

INFO = BackboneInfo(name="fake", width=4, vocabulary=100, image_size=8, codes=4, text_length=20, fingerprint="f" * 64)
LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)


@dataclass
class FakeClock:
    """Time passes when somebody says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeStepper:
    """`passes` notes what each pass advanced; a step takes `seconds`. Seed 666 breaks, 13 raises when it begins, 99 in a pass."""

    clock: FakeClock = field(default_factory=FakeClock)
    seconds: float = 0.0
    info: BackboneInfo = INFO
    device: torch.device = torch.device("cpu")
    passes: list[tuple[str, list[int]]] = field(default_factory=list)
    encoded: int = 0
    forgotten: int = 0
    speeches: list[Speech] = field(default_factory=list)
    prefix_reads: tuple[int, int] = (0, 0)

    def drawing_ids(self, prompt: Prompt) -> list[int]:
        return self._ids(prompt)

    def question_ids(self, turns: Sequence[Turn], max_tokens: int) -> list[int]:
        return self._ids(turns[-1].question)

    def codes(self, picture_CHW: Tensor) -> Tensor:
        self.encoded += 1
        return torch.arange(4)

    def forget_picture(self, codes_N: Tensor) -> None:
        self.forgotten += 1

    def pictures(self, codes_BN: Tensor) -> Tensor:
        return codes_BN.float().mean(1)[:, None, None, None].expand(-1, 3, 8, 8)

    def open_canvas(
        self,
        ids: Sequence[int],
        concepts: Sequence[ConceptTokens],
        sampling: Sampling,
        seed: int,
        start_N: Tensor | None = None,
    ) -> Canvas:
        self._begin(seed)
        return Canvas(sampling, torch.zeros(4, dtype=torch.long) if start_N is None else start_N, seed)

    def draw(self, canvases: Sequence[Canvas]) -> None:
        self._pass("draw", [canvas.state for canvas in canvases])
        for canvas in canvases:
            canvas.step += 1
            canvas.codes_N = torch.full((4,), canvas.step)
            canvas.broken = "nonsense" if canvas.state == 666 else ""

    def open_speech(
        self,
        ids: Sequence[int],
        codes_N: Tensor | None,
        concepts: Sequence[ConceptTokens],
        names: Sequence[str],
        decoding: Decoding,
        seed: int,
    ) -> Speech:
        self._begin(seed)
        speech = Speech(decoding, {"seed": seed, "sent": 0}, [])
        self._say(speech)
        if not speech.stopped:
            self.speeches.append(speech)
        return speech

    def speak(self) -> None:
        self._pass("speak", [speech.state["seed"] for speech in self.speeches])
        for speech in self.speeches:
            self._say(speech)
        self.speeches = [speech for speech in self.speeches if not speech.stopped and not speech.broken]

    def close_speech(self, speech: Speech) -> None:
        self.speeches = [other for other in self.speeches if other is not speech]

    def heard(self, speech: Speech) -> str:
        new = self.text(speech)[speech.state["sent"] :]
        speech.state["sent"] += len(new)
        return new

    def text(self, speech: Speech) -> str:
        return "".join(f"{speech.state['seed']}." for _ in speech.ids)

    def _ids(self, prompt: Prompt) -> list[int]:
        ids = list(range(sum(len(piece) for piece in prompt if isinstance(piece, str))))
        if len(ids) > 20:
            raise RequestError(f"the prompt takes {len(ids)} tokens, there is room for 20: shorten it")
        return ids

    def _begin(self, seed: int) -> None:
        if seed == 13:
            raise RuntimeError("cannot begin")

    def _pass(self, kind: str, seeds: list[int]) -> None:
        self.passes.append((kind, seeds))
        self.clock.now += self.seconds
        if 99 in seeds:
            raise RuntimeError("the pass broke")

    def _say(self, speech: Speech) -> None:
        speech.ids.append(len(speech.ids))
        if len(speech.ids) >= speech.decoding.max_tokens:
            speech.stopped = "length"
        if speech.state["seed"] == 666:
            speech.broken = "nonsense"


def fake_bundle(name: str, rows: int = 5) -> ConceptBundle:
    """A concept of the fake model."""
    card = ConceptCard(name=name, class_word="dog", layout=LAYOUT, backbone=BackboneStamp.of(INFO))
    return ConceptBundle(ConceptTokens(LAYOUT, torch.ones(rows, 4), torch.ones(rows, 4), torch.ones(rows)), card)


@dataclass
class FakeStore:
    """Loads by reference; "torn" is damaged, "foreign" of another backbone, "gone" unknown."""

    loaded: list[str] = field(default_factory=list)

    def __call__(self, reference: object) -> ConceptBundle:
        name = str(reference)
        self.loaded.append(name)
        if name == "torn":
            raise StorageError("'torn' is damaged: publish it again")
        if name == "gone":
            raise ConceptError("no concept 'gone': train it first")
        bundle = fake_bundle("bo")
        if name == "foreign":
            stamp = replace(bundle.card.backbone, fingerprint="0" * 64)
            bundle = ConceptBundle(bundle.tokens, replace(bundle.card, backbone=stamp))
        return bundle


def draw(user: str = "ada", seed: int = 0, steps: int = 3, **values: object) -> Draw:
    return Draw(user=user, prompt=("A dog.",), seed=seed, sampling=Sampling(steps=steps, guidance=0.0), **values)  # type: ignore[arg-type]


def ask(user: str = "ada", seed: int = 0, tokens: int = 3, **values: object) -> Ask:
    return Ask(user=user, turns=(Turn(("Hi?",)),), seed=seed, decoding=Decoding(max_tokens=tokens), **values)  # type: ignore[arg-type]


def engine_of(stepper: FakeStepper, **settings: float) -> Engine:
    """An engine by the model's own clock."""
    return Engine(stepper, FakeStore(), EngineSettings(**settings), stepper.clock)  # type: ignore[arg-type]


def run(engine: Engine) -> None:
    """Until there is nothing to do."""
    while engine.tick():
        pass


def events(handle: Handle) -> list[Event]:
    """What a request has heard, whose end has come; TimedOut if it has not."""
    return list(handle.events(0.0))
