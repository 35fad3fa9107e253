"""`draw --replay` and `evaluate --replay`, with rows that know nothing: what they answer is refused, in the open."""

import json
from pathlib import Path

import pytest
import torch

from unictokens.backbones.showo.backbone import ShowO
from unictokens.cli.main import main
from unictokens.concepts.bundle import ConceptBundle
from unictokens.concepts.card import BackboneStamp, ConceptCard, Provenance
from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.store import ConceptStore
from unictokens.concepts.tokens import ConceptTokens
from unictokens.evaluation.manifest import Manifest

LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)
REQUEST = "A photo of <bo> with its hat."


@pytest.fixture
def store(tiny_backbone: ShowO, tiny_base: Path, tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(shape, generator=generator) for shape in ((5, 32), (5, 32), (5,))]
    story = Provenance(config={"backbone": str(tiny_base)})
    stamp = BackboneStamp.of(tiny_backbone.info)
    card = ConceptCard(name="bo", class_word="dog", layout=LAYOUT, backbone=stamp, provenance=story)
    ConceptStore(tmp_path / "store").publish(ConceptBundle(ConceptTokens(LAYOUT, *rows), card))
    return tmp_path / "store"


def draw(store: Path, file: Path, *more: str) -> int:
    command = ["draw", "--store", str(store), "--concept", "bo", "--device", "cpu", REQUEST, "--steps", "2"]
    return main([*command, "--out", str(file), *more])


@pytest.mark.parametrize("more", [("rules",), ("exemplars", "--exemplars", "2")])
def test_what_cannot_be_recalled_is_said_and_the_prompt_drawn_as_it_was(
    more: tuple[str, ...], store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(store, tmp_path / "plain.png") == 0
    capsys.readouterr()
    assert draw(store, tmp_path / "replayed.png", "--replay", *more) == 0
    *told, last, path = capsys.readouterr().out.splitlines()
    assert told and "refused" in told[-1] and last == f"drawn as it was: {REQUEST}" and path.endswith("replayed.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "replayed.png").read_bytes()


def test_impossible_replays_are_one_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, named in (
        (["--exemplars", "3"], "--replay exemplars"),
        (["--replay", "rules", "--exemplars", "3"], "--replay exemplars"),
        (["--replay", "exemplars", "--exemplars", "7"], "7 exemplars"),
    ):
        assert draw(store, tmp_path / "x.png", *more) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and named in line
    assert not (tmp_path / "x.png").exists()


def test_an_evaluation_with_replay_has_its_own_column_and_is_scored_again(
    store: Path, toyland: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = [
        "evaluate",
        "--data",
        str(toyland),
        "--store",
        str(store),
        "--concept",
        "bo",
        "--out",
        str(tmp_path / "exam"),
    ]
    held += ["--device", "cpu", "--contenders", "tokens", "--pure", "0", "--knowledge", "1", "--steps", "2"]
    held += ["--clip", "none", "--replay", "rules"]
    assert main(held) in (0, 1)
    folder = tmp_path / "exam" / "bo@v1-correct"
    first = json.loads((folder / "scores.json").read_text())
    assert set(first) == {"tokens", "replay-rules"} and "right intents" not in first["tokens"]
    assert first["replay-rules"]["right intents"] == {"value": 1.0, "count": 2, "why": ""}
    assert first["replay-rules"]["recalled"]["value"] == 0.0
    assert "rec" in first["tokens"] and "rec" not in first["replay-rules"], "questions are answered as without"
    assert first["replay-rules"]["knowledge score"]["count"] == first["tokens"]["knowledge score"]["count"] == 2
    assert all(drawing.trace is not None for drawing in Manifest.open(folder / "replay-rules").drawings)
    (folder / "scores.json").unlink()
    assert main([*held, "--rescore"]) in (0, 1)
    assert json.loads((folder / "scores.json").read_text()) == first
    assert "replay-rules" in capsys.readouterr().out
