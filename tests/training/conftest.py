"""A dataset of one small animal and one person, and short settings for the tiny Show-o."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unictokens.backbones.showo.backbone import ShowO
from unictokens.config import PRESETS, RunConfig, override
from unictokens.data.catalog import Catalog
from unictokens.data.records import ConceptRecord
from unictokens.tracking.base import Trackers
from unictokens.training.engine import LocalEngine
from unictokens.training.pack import train_run
from unictokens.training.run import RunResult
from unictokens.training.session import Session

SHORT = {
    "layout": {"shared": 3, "generation": 2, "understanding": 2},
    "perception.images": 2,
    "perception.early_step": 1,
    "perception.late_step": 3,
    "perception.sampling": {"steps": 4, "guidance": 1.0, "temperature": 1.0},
    "preview.every": 0,
    **{f"stages.{stage}.epochs": 2 for stage in ("warmup", "bootstrap", "deepen")},
}


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def dialogue(image: str, question: str, answer: str) -> dict[str, object]:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"image": image, "conversations": turns}


def write_concept(root: Path, name: str, cls: str, conversation_type: str) -> None:
    train = root / "concept" / "train" / name
    for number in range(2):
        noise(train / f"{number}.png", number)
        noise(train / "cropped" / f"{number}.png", 10 + number)
    noise(train / "negative_example" / "0.png", 20)
    info = {
        "class": cls,
        "info": f"<{name}> is a {cls}.",
        "extra_info": [],
        "conversation_type": conversation_type,
        "generation_type": "live_subject",
    }
    (train / "info.json").write_text(json.dumps(info))
    photos = f"concept/train/{name}"
    items = [
        dialogue(f"{photos}/0.png", f"Is <{name}> here?", "Yes."),
        dialogue(f"{photos}/negative_example/0.png", f"Is <{name}> here?", "No."),
        dialogue(f"{photos}/1.png", "Who is it?", f"It is <{name}>."),
    ]
    for stage, kept in (("stage_1", items), ("stage_3", items[:2])):
        folder = root / f"showo_training_data_{stage}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(kept))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from more threads, and equal bytes need an equal number of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("dataset")
    write_concept(root, "bo", "dog", "animal")
    write_concept(root, "ann", "woman", "human")
    (root / "concepts_list.json").write_text(json.dumps(["bo", "ann"]))
    return Catalog.open(root)


@pytest.fixture(scope="session")
def bo(small_catalog: Catalog) -> ConceptRecord:
    return small_catalog.concept("bo")


@pytest.fixture(scope="session")
def short_settings() -> dict[str, object]:
    return dict(SHORT)


@pytest.fixture(scope="session")
def short_config() -> RunConfig:
    return override(PRESETS["paper"], SHORT)


@pytest.fixture(scope="session")
def engine(tiny_backbone: ShowO) -> LocalEngine:
    return LocalEngine(tiny_backbone)


Train = Callable[..., RunResult]


@pytest.fixture
def train(engine: LocalEngine, bo: ConceptRecord, short_config: RunConfig) -> Train:
    """Train `bo` in a folder with the short settings and some overrides."""

    def run(folder: Path, session: Session | None = None, **changed: object) -> RunResult:
        config = override(short_config, {path.replace("__", "."): value for path, value in changed.items()})
        return train_run(engine, bo, config, folder, tracker=Trackers(()), session=session)

    return run
