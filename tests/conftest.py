"""What several test rooms share: recorded vectors (optional) and a tiny random Show-o of the real classes."""

from pathlib import Path

import pytest
from places import bucket, faulty, gs, place, s3  # noqa: F401  fixtures
from postgres import postgres_server  # noqa: F401  fixture

from unictokens.backbones.showo.backbone import ShowO
from unictokens.backbones.showo.config import ShowOConfig
from unictokens.backbones.showo.image_tokenizer import MagvitConfig
from unictokens.backbones.showo.weights import random_backbone, save_backbone
from unictokens.concepts.tokenizer import TextTokenizer
from unictokens.data.toyland.writer import write_dataset

ROOT = Path(__file__).resolve().parent.parent

SENTENCES = (
    "USER: Is the dog in the photo? ASSISTANT: Yes, it is in the photo.",
    "A photo of a brown dog wearing a red hat on the beach.",
    "What colour is the cat? It is white. No, the teapot is blue.",
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of recorded vectors beside the repository; skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded vectors (../shared/data) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> TextTokenizer:
    """A byte-level tokenizer of 300 ids."""
    return TextTokenizer.train(SENTENCES * 3, 300)


@pytest.fixture(scope="session")
def tiny_config() -> ShowOConfig:
    """32-pixel images as 4x4 codes of 6 bits, width 32, two layers."""
    return ShowOConfig(
        phi={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "partial_rotary_factor": 0.5,
            "max_position_embeddings": 512,
        },
        text_size=300,
        codebook_bits=6,
        num_vq_tokens=16,
        text_length=96,
        image_size=32,
        magvit=MagvitConfig(
            base=8,
            bits=6,
            groups=4,
            encoder_multipliers=(1, 1, 2, 2),
            encoder_blocks=(1, 1, 1, 1),
            decoder_multipliers=(1, 1, 2, 2),
            decoder_blocks=(1, 1, 1, 1),
        ),
    )


@pytest.fixture(scope="session")
def tiny_backbone(tiny_config: ShowOConfig, tiny_tokenizer: TextTokenizer) -> ShowO:
    """A random Show-o that answers and draws (nonsense) in milliseconds; tests must not change it."""
    return random_backbone(tiny_config, tiny_tokenizer, seed=0)


@pytest.fixture(scope="session")
def toyland(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Toyland dataset of three concepts (bo a pet, miru a person, tavo an object); tests must not change it."""
    folder = tmp_path_factory.mktemp("toyland") / "data"
    write_dataset(folder, concepts=3, size=32)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tiny_backbone: ShowO, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Show-o as a backbone folder."""
    folder = tmp_path_factory.mktemp("tiny") / "base"
    save_backbone(tiny_backbone, folder)
    return folder


@pytest.fixture(scope="session")
def short_settings() -> list[str]:
    """Settings (as for --set) with which the tiny Show-o learns a Toyland concept in about two seconds."""
    stages = ("warmup", "bootstrap", "deepen")
    return [
        "layout.shared=3",
        "layout.generation=2",
        "layout.understanding=2",
        "perception.images=2",
        "perception.early_step=1",
        "perception.late_step=3",
        "perception.sampling.steps=4",
        "preview.every=2",
        "preview.images=1",
        "preview.sampling.steps=2",
        *(f"stages.{stage}.epochs=2" for stage in stages),
        *(f"stages.{stage}.understanding_limit=4" for stage in stages),
    ]
