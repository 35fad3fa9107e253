"""The engine with a real (tiny) Show-o: in any company a request gets what `Pipeline` gives it alone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from serve.engine.asked import Ask, Asked, Draw
from serve.engine.engine import Engine
from serve.engine.events import Answer, Drawn
from serve.engine.settings import EngineSettings
from unictokens.backbones.base import Decoding, Sampling, Turn
from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.stepper import ShowOStepper
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import fill, identifier, join
from unictokens.concepts.tokens import ConceptTokens
from unictokens.errors import ServeError
from unictokens.images import to_pictures, to_tensor
from unictokens.pipeline import Pipeline

LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)
NAMES = ("bo", "miru", "tavo")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bundles(tiny_backbone: ShowO) -> dict[str, ConceptBundle]:
    made = {}
    for seed, name in enumerate(NAMES):
        generator = torch.Generator().manual_seed(seed)
        rows = [torch.randn(shape, generator=generator) * 0.3 for shape in ((5, 32), (5, 32), (5,))]
        stamp = BackboneStamp.of(tiny_backbone.info)
        made[name] = ConceptBundle(
            ConceptTokens(LAYOUT, *rows), ConceptCard(name=name, class_word="dog", layout=LAYOUT, backbone=stamp)
        )
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_noise((32, 32), 90).convert("RGB").save(path)
    return path


def draw_of(engine: Engine, name: str, seed: int, sampling: Sampling) -> Draw:
    prompt = fill(f"A photo of <{name}>.", {name: engine.card(name).subject()})
    return Draw(user=name, prompt=prompt, concepts=(name,), seed=seed, sampling=sampling)


def ask_of(engine: Engine, name: str, seed: int, decoding: Decoding, photo: Path | None) -> Ask:
    card = engine.card(name)
    asked = fill(f"Is <{name}> here? Tell more.", {name: identifier(card.layout)})
    picture_CHW = None if photo is None else to_tensor(Image.open(photo))
    question = join(card.introduction(), "\n", asked)
    return Ask(
        user=name,
        turns=(Turn(question),),
        concepts=(name,),
        names=(name,),
        seed=seed,
        decoding=decoding,
        picture_CHW=picture_CHW,
    )


def test_in_any_company_a_request_gets_what_the_pipeline_gives_alone(
    tiny_backbone: ShowO, bundles: dict[str, ConceptBundle], photo: Path
) -> None:
    engine = Engine(ShowOStepper(tiny_backbone), lambda name: bundles[str(name)], EngineSettings(canvases=3))
    engine.start()
    pipelines = {name: Pipeline(tiny_backbone, [bundles[name]]) for name in NAMES}
    wanted: list[object] = []
    asked: list[Asked] = []
    for seed in range(12):
        name, shown = NAMES[seed % 3], photo if seed % 2 else None
        sampling = Sampling(steps=2 + seed % 5, guidance=float(seed % 3))
        decoding = Decoding(max_tokens=4 + seed, top_k=(1, 5)[seed % 2])
        asked += [draw_of(engine, name, seed, sampling), ask_of(engine, name, seed, decoding, shown)]
        wanted.append(pipelines[name].draw(f"A photo of <{name}>.", [seed], sampling)[0].tobytes())
        wanted.append(pipelines[name].ask(f"Is <{name}> here? Tell more.", shown, decoding=decoding, seed=seed))

    def found(one: Asked) -> object:
        result = engine.submit(one).result(60.0)
        return result.text if isinstance(result, Answer) else to_pictures(result.picture_CHW[None])[0].tobytes()

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(found, asked)) == wanted
    engine.close()
    assert engine.counters.photo_misses == 1 and engine.counters.concepts.loads == 3
    assert engine.counters.drawing.width.mean > 1.0


def test_one_name_of_two_users_means_two_concepts_in_one_pass(
    tiny_backbone: ShowO, bundles: dict[str, ConceptBundle]
) -> None:
    """Both write <bo>; the reference, never the name, says whose rows they are."""
    engine = Engine(ShowOStepper(tiny_backbone), lambda name: bundles[str(name)])
    sampling = Sampling(steps=4, guidance=2.0)

    def codes(references: list[str]) -> list[bytes]:
        prompt = fill("A photo of <bo>.", {"bo": bundles["bo"].card.subject()})
        handles = [
            engine.submit(Draw(user=reference, prompt=prompt, concepts=(reference,), seed=1, sampling=sampling))
            for reference in references
        ]
        while engine.tick():
            pass
        results = [handle.result(0.0) for handle in handles]
        return [result.codes_N.numpy().tobytes() for result in results if isinstance(result, Drawn)]

    together = codes(["bo", "miru"])
    assert together == codes(["bo"]) + codes(["miru"]) and together[0] != together[1]


def test_redrawing_keeps_the_codes_outside_the_mask(
    tiny_backbone: ShowO, bundles: dict[str, ConceptBundle], photo: Path
) -> None:
    engine = Engine(ShowOStepper(tiny_backbone), lambda name: bundles[str(name)])
    picture_CHW, redraw_N = to_tensor(Image.open(photo)), torch.arange(16) < 6
    handle = engine.submit(
        Draw(
            user="ada",
            prompt=("A dog.",),
            sampling=Sampling(steps=3),
            picture_CHW=picture_CHW,
            redraw_N=redraw_N,
        )
    )
    while engine.tick():
        pass
    result = handle.result(0.0)
    assert isinstance(result, Drawn)
    assert torch.equal(result.codes_N[~redraw_N], tiny_backbone.encode(picture_CHW[None])[0][~redraw_N])


def test_a_concept_of_absurd_numbers_fails_alone_in_a_pass(
    tiny_backbone: ShowO, bundles: dict[str, ConceptBundle]
) -> None:
    alone = Pipeline(tiny_backbone, [bundles["bo"]]).draw("A photo of <bo>.", [3], Sampling(steps=3))[0].tobytes()
    bundles["miru"].tokens.embed_KD[:] = torch.finfo(torch.float32).max
    engine = Engine(ShowOStepper(tiny_backbone), lambda name: bundles[str(name)])
    bad, good = (engine.submit(draw_of(engine, name, 3, Sampling(steps=3))) for name in ("miru", "bo"))
    worse = engine.submit(ask_of(engine, "miru", 0, Decoding(max_tokens=3), None))
    while engine.tick():
        pass
    for handle in (bad, worse):
        with pytest.raises(ServeError, match="non-finite"):
            handle.result(0.0)
    result = good.result(0.0)
    assert isinstance(result, Drawn) and to_pictures(result.picture_CHW[None])[0].tobytes() == alone


def test_nothing_is_kept_of_pictures_that_were_asked_about_with_a_deleted_concept(
    tiny_backbone: ShowO, bundles: dict[str, ConceptBundle], photo: Path
) -> None:
    tiny_backbone.prefixes.clear()
    engine = Engine(ShowOStepper(tiny_backbone), lambda reference: bundles[str(reference)])

    def read(name: str, picture: Path | None) -> tuple[int, int, int]:
        engine.submit(ask_of(engine, name, 0, Decoding(max_tokens=2), picture))
        while engine.tick():
            pass
        counters = engine.counters
        return counters.photo_misses, counters.prefix_misses - before, len(tiny_backbone.prefixes)

    before = tiny_backbone.prefixes.misses
    assert read("bo", photo) == read("bo", photo) == (1, 1, 1)
    assert read("miru", None) == (1, 2, 2)
    engine.forget(lambda reference: reference == "bo")
    engine.tick()
    assert len(tiny_backbone.prefixes) == 1 and "bo" not in engine.shelf
    assert read("bo", photo) == (2, 3, 2)
    engine.close()
