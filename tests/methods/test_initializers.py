"""How rows begin: rules for embeddings, image codes for the head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.layout import TokenLayout
from unictokens.config import PRESETS, RunConfig, StageConfig, override
from unictokens.data.epochs import CodeCache
from unictokens.data.records import ConceptRecord
from unictokens.errors import ConfigError, TrainingError
from unictokens.images import View
from unictokens.methods.base import Setting, Stage, check_stages, initial_rules
from unictokens.methods.clustering import centres
from unictokens.methods.draws import SeededDraws
from unictokens.methods.growth import grow, perception_request
from unictokens.methods.initializers import stretch
from unictokens.methods.perception import watch
from unictokens.methods.unictokens import UniCTokens

SHORT = {
    "layout": {"shared": 3, "generation": 2, "understanding": 2},
    "perception": {
        "images": 2,
        "early_step": 1,
        "late_step": 3,
        "sampling": {"steps": 4, "guidance": 0.0, "temperature": 1.0},
    },
}


@pytest.fixture
def setting(tiny_backbone: ShowO, tmp_path: Path) -> Setting:
    photos = []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        photos.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(photos[-1])
    record = ConceptRecord(name="bo", root=tmp_path, cls="dog", info="<bo> is a dog.", photos=tuple(photos))
    config = override(PRESETS["paper"], SHORT)
    return Setting(tiny_backbone, record, config, SeededDraws(0), CodeCache(tiny_backbone.encode))


def stage(config: RunConfig, **rules: str) -> Stage:
    initial = {f"stages.warmup.initial.{group}": rule for group, rule in rules.items()}
    return Stage("warmup", override(config, initial).stages.warmup)


def test_first_rows_are_class_word_and_photo_centres(setting: Setting, tiny_backbone: ShowO) -> None:
    tokens = grow(setting, UniCTokens().stages(setting.config)[0], None).tokens
    torch.testing.assert_close(tokens.embed_KD[0], tiny_backbone.word_rows("dog").mean(0))
    view = View(setting.backbone.info.image_size, setting.backbone.info.image_size)
    codes = torch.cat([setting.codes.codes(photo, view) for photo in setting.record.photos])
    vectors_MD = tiny_backbone.image_rows(codes)
    assert torch.equal(tokens.embed_KD[1:], centres(vectors_MD, 3))


def test_head_rows_begin_as_image_codes_of_the_same_number(setting: Setting, tiny_backbone: ShowO) -> None:
    stages = UniCTokens().stages(setting.config)
    tokens = grow(setting, stages[1], grow(setting, stages[0], None).tokens).tokens
    head_KD, bias_K = tiny_backbone.head_rows(torch.arange(6))
    assert torch.equal(tokens.head_KD, head_KD) and torch.equal(tokens.bias_K, bias_K)


def test_authors_code_starts_generation_rows_from_image_codes(setting: Setting, tiny_backbone: ShowO) -> None:
    config = override(PRESETS["authors_code"], SHORT)
    first, second, _ = UniCTokens().stages(config)
    published = Setting(setting.backbone, setting.record, config, setting.draws, setting.codes)
    tokens = grow(published, second, grow(published, first, None).tokens).tokens
    assert torch.equal(tokens.embed_KD[4:6], tiny_backbone.image_rows(torch.tensor([4, 5])))


@pytest.mark.parametrize("rule", ["perception", "full_image", "random_patch"])
def test_drawn_pictures_start_understanding_rows(setting: Setting, rule: str) -> None:
    config = override(setting.config, {"stages.deepen.initial.understanding": rule, "perception.regions": "painted"})
    drawn = Setting(setting.backbone, setting.record, config, setting.draws, setting.codes)
    first, second, third = UniCTokens().stages(config)
    before = grow(drawn, second, grow(drawn, first, None).tokens).tokens
    request = perception_request(drawn, third, before)
    assert request is not None and perception_request(drawn, first, None) is None
    (sightings,) = watch(setting.backbone, [request])
    beginning = grow(drawn, third, before, sightings)
    assert beginning.tokens.rows == 8 and len(beginning.sightings) == 2
    assert torch.equal(beginning.tokens.embed_KD[:6], before.embed_KD)
    assert torch.equal(beginning.tokens.embed_KD, grow(drawn, third, before, sightings).tokens.embed_KD)


def test_drawn_pictures_need_rows_to_draw_with(setting: Setting) -> None:
    with pytest.raises(ConfigError, match="no rows to draw with"):
        perception_request(setting, stage(setting.config, shared="perception"), None)


def test_groups_must_continue_the_layout(setting: Setting) -> None:
    with pytest.raises(ConfigError, match="without gaps"):
        grow(setting, UniCTokens().stages(setting.config)[1], None)


def test_stage_cannot_train_rows_that_do_not_exist(setting: Setting) -> None:
    config = override(setting.config, {"stages.warmup.trains": ["identifier", "understanding"]})
    with pytest.raises(ConfigError, match="create the missing groups"):
        grow(setting, UniCTokens().stages(config)[0], None)


def test_too_few_photos_for_the_centres_are_refused(setting: Setting) -> None:
    config = override(setting.config, {"layout.shared": 40})
    many = Setting(setting.backbone, setting.record, config, setting.draws, setting.codes)
    with pytest.raises(TrainingError, match="at least 40 vectors"):
        grow(many, UniCTokens().stages(config)[0], None)


def test_persons_have_rules_of_their_own() -> None:
    bootstrap = PRESETS["paper"].stages.bootstrap
    assert initial_rules(bootstrap, is_person=True)["generation"] == "face"
    assert initial_rules(bootstrap, is_person=False)["generation"] == "kmeans_images"
    assert initial_rules(PRESETS["demo"].stages.bootstrap, is_person=True)["generation"] == "kmeans_images"


def test_stage_without_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither understanding nor generation"):
        check_stages((Stage("warmup", StageConfig(trains=("identifier",))),))


def test_face_vector_is_cut_and_stretched() -> None:
    vector_E = torch.arange(8.0)
    rows_KD = stretch(vector_E, 2, 8)
    assert rows_KD.shape == (2, 8)
    assert rows_KD[0].min() == 0.0 and rows_KD[0].max() == 3.0
    assert rows_KD[1].min() == 4.0 and rows_KD[1].max() == 7.0
    with pytest.raises(ConfigError, match="cannot be cut in 3 rows"):
        stretch(vector_E, 3, 8)


def test_zero_rows_of_a_group_are_left_out(setting: Setting) -> None:
    config = override(setting.config, {"layout": TokenLayout(shared=3, generation=0, understanding=2).__dict__})
    without = Setting(setting.backbone, setting.record, config, setting.draws, setting.codes)
    first, second, _ = UniCTokens().stages(config)
    assert grow(without, second, grow(without, first, None).tokens).tokens.rows == 4


def test_random_rows_are_as_long_as_image_rows_and_follow_the_seed(setting: Setting, tiny_backbone: ShowO) -> None:
    config = override(setting.config, {"layout.shared": 50, "stages.warmup.initial.shared": "random"})
    drawn = [
        grow(
            Setting(setting.backbone, setting.record, config, SeededDraws(seed), setting.codes),
            UniCTokens().stages(config)[0],
            None,
        ).tokens.embed_KD[1:]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    view = View(32, 32)
    rows_MD = tiny_backbone.image_rows(torch.cat([setting.codes.codes(p, view) for p in setting.record.photos]))
    assert float(drawn[0].std() / rows_MD.std()) == pytest.approx(1.0, abs=0.07)
    assert float(drawn[0].mean().abs() / rows_MD.std()) < 0.1
