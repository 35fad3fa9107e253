"""One tree of frozen dataclasses for a whole run, and the one door through which settings enter it.

The command line, JSON files and sweeps all use `override(config, {"stages.deepen.optim.lr": 1e-4})`.
`PRESETS` holds three values of the tree: `paper` (what the paper states), `authors_code` (what the published scripts
do where they differ) and `demo` (the paper's method shortened for a small base on a CPU).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from unictokens import settings
from unictokens.concepts.layout import Group, TokenLayout
from unictokens.errors import ConfigError
from unictokens.settings import parse_settings, to_dict

__all__ = ["PRESETS", "RunConfig", "config_hash", "from_dict", "load_config", "override", "parse_settings", "to_dict"]

STRICT = ConfigDict(extra="forbid")
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

UnderstandingData = Literal["stage_1", "stage_3"]
Precision = Literal["fp32", "tf32", "bf16"]
GenerationData = Literal["cropped", "photos"]
Initializer = Literal[
    "class_word", "kmeans_images", "face", "image_codes", "perception", "random_patch", "full_image", "random"
]

OPEN_TABLES = ("initial", "initial_person")
"""Settings whose keys are not fixed: `override` may add one."""
LATER = {"average": 0.0}
"""Settings of a stage that there were not from the start, with the value that says what every run did before."""
LISTED = "run 'python -m unictokens config' to list all settings"


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW. No schedule, no clipping: neither the paper nor the published code has one."""

    __pydantic_config__ = STRICT
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: Weight = 0.0
    eps: Annotated[float, Field(gt=0.0)] = 1e-8


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One of the paper's three stages: the loop is the same, only these values differ (paper section 3, table 4).

    initial              groups that are created when the stage starts, and how their embedding rows begin
    initial_person       the same for persons, over `initial` (the paper starts a person's generation rows from the face)
    trains               groups whose rows the optimizer changes
    introduction         soft-token groups of "<bo> is <...>." before the first question
    subject              soft-token groups before the name in drawing prompts
    understanding        which question file, or None; `understanding_limit` keeps only that many items (0 = all)
    generation           which photos, or None
    generation_zoom      short side before a random square crop, as a multiple of the image size; 1.0 = centre crop
    flip                 probability of mirroring a picture when the epoch list is drawn
    condition_dropout    probability of drawing without the text (for classifier-free guidance)
    start_epoch          epoch of the previous stage that this one continues from; None = its last
    average              the stage ends with the mean of its rows over all steps of its last epochs, this share of them (rounded
                         down); 0 = with the last rows, as paper and published code do
    """

    __pydantic_config__ = STRICT
    epochs: Positive = 20
    initial: dict[Group, Initializer] = field(default_factory=dict)
    initial_person: dict[Group, Initializer] = field(default_factory=dict)
    trains: tuple[Group, ...] = ()
    introduction: tuple[Group, ...] = ("shared",)
    subject: tuple[Group, ...] = ("shared", "generation")
    understanding: UnderstandingData | None = None
    understanding_batch: Positive = 1
    understanding_weight: Weight = 1.0
    understanding_limit: Count = 0
    generation: GenerationData | None = None
    generation_batch: Positive = 1
    generation_weight: Weight = 0.0
    generation_zoom: Annotated[float, Field(ge=1.0, le=4.0)] = 1.0
    condition_dropout: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    flip: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    start_epoch: Positive | None = None
    average: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    optim: OptimConfig = OptimConfig()


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """The three stages in order."""

    __pydantic_config__ = STRICT
    warmup: StageConfig
    bootstrap: StageConfig
    deepen: StageConfig


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How images are drawn (Show-o's MaskGIT decoding): steps, guidance, start temperature."""

    __pydantic_config__ = STRICT
    steps: Positive = 50
    guidance: Weight = 5.0
    temperature: Weight = 1.0


@dataclass(frozen=True, kw_only=True)
class PerceptionConfig:
    """Generation as perception (paper section 3.4, equation 5): draw the concept, watch where the codes still change.

    regions  "changed": rows of the finished codes at places that change between the two watched steps (the paper);
             "painted": the published code, which paints places still undecided at the later step white and clusters all
    """

    __pydantic_config__ = STRICT
    images: Positive = 20
    early_step: Positive = 10
    late_step: Positive = 35
    regions: Literal["changed", "painted"] = "changed"
    sampling: SamplingConfig = SamplingConfig()

    def __post_init__(self) -> None:
        if not self.early_step < self.late_step <= self.sampling.steps:
            raise ConfigError(
                f"setting 'perception' watches steps {self.early_step} and {self.late_step} of {self.sampling.steps}: "
                "choose early_step < late_step <= sampling.steps"
            )


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """Pictures and answers made during training with fixed seeds; `every` = 0 turns them off (epochs)."""

    __pydantic_config__ = STRICT
    every: Count = 5
    images: Positive = 2
    sampling: SamplingConfig = SamplingConfig()


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what one run learns, plus previews, which decide nothing.

    precision     of the frozen transformer: "fp32", "tf32" (float32 weights, shorter products on a GPU), "bf16"; rows and
                  losses are float32 always
    answer_start  whether inference puts Show-o's start-of-text id after the image although training does not
                  (the published code does; unictokens facts call it "sot")
    """

    __pydantic_config__ = STRICT
    method: str = "unictokens"
    backbone: str = "mini"
    precision: Precision = "fp32"
    layout: TokenLayout = TokenLayout()
    stages: StagesConfig
    perception: PerceptionConfig = PerceptionConfig()
    preview: PreviewConfig = PreviewConfig()
    answer_start: bool = True
    seed: Count = 0


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Read a full config; raises ConfigError that names the dotted path of the first wrong or unknown setting."""
    return settings.read(RunConfig, values, LISTED)


def override(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """A copy with the settings at dotted paths replaced, checked as a whole.

    Raises ConfigError for a path that does not exist or a value that does not fit.
    """
    return settings.override(config, values, LISTED, OPEN_TABLES)


def load_config(source: str, changed: Mapping[str, Any] | None = None) -> RunConfig:
    """A preset by name or a JSON file by path, then `changed` over it.

    Raises ConfigError for an unknown preset, an unreadable file, or a wrong setting.
    """
    if source in PRESETS:
        return override(PRESETS[source], changed or {})
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"config '{source}' is neither a preset ({', '.join(PRESETS)}) nor a file")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"config file '{path}' is not readable JSON ({error}): mend or regenerate it") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config file '{path}' holds a {type(values).__name__}: it must be a JSON object")
    return override(from_dict(values), changed or {})


def config_hash(config: RunConfig) -> str:
    """First 16 hex digits of a SHA-256 over everything that decides what a run learns (previews left out).

    A setting in LATER is left out where it changes nothing: runs from before there was one are continued, and found in stores.
    """
    decisive = {key: value for key, value in to_dict(config).items() if key != "preview"}
    for stage in decisive["stages"].values():
        for key, before in LATER.items():
            if stage[key] == before:
                del stage[key]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _paper() -> RunConfig:
    warmup = StageConfig(
        initial={"identifier": "class_word", "shared": "kmeans_images"},
        trains=("identifier", "shared"),
        understanding="stage_1",
        understanding_batch=4,
        optim=OptimConfig(lr=1e-4, weight_decay=0.0),
    )
    both = StageConfig(
        initial={"generation": "kmeans_images"},
        initial_person={"generation": "face"},
        trains=("identifier", "shared", "generation"),
        understanding="stage_1",
        understanding_weight=0.2,
        generation="cropped",
        generation_weight=0.8,
        generation_zoom=1.1,
        optim=OptimConfig(lr=1e-3, weight_decay=0.0),
    )
    deepen = replace(
        both,
        initial={"understanding": "perception"},
        initial_person={},
        trains=("identifier", "understanding"),
        introduction=("shared", "understanding"),
        understanding="stage_3",
        generation="photos",
        generation_zoom=1.0,
        optim=OptimConfig(lr=1e-4, weight_decay=0.0),
    )
    return RunConfig(stages=StagesConfig(warmup=warmup, bootstrap=both, deepen=deepen))


def _authors_code() -> RunConfig:
    paper = _paper()
    stages = StagesConfig(
        warmup=replace(paper.stages.warmup, flip=0.25, optim=OptimConfig(lr=1e-3, weight_decay=1e-4, eps=1e-6)),
        bootstrap=replace(
            paper.stages.bootstrap,
            initial={"generation": "image_codes"},
            flip=0.25,
            start_epoch=15,
            optim=OptimConfig(lr=1e-3, weight_decay=1e-3),
        ),
        deepen=replace(paper.stages.deepen, flip=0.25, optim=OptimConfig(lr=1e-3, weight_decay=1e-3)),
    )
    return replace(paper, stages=stages, perception=replace(paper.perception, regions="painted"))


def _demo() -> RunConfig:
    paper = _paper()
    # Each step must go far: the small base's image rows, where learned rows begin, are 7.5 long, and Adam moves a value by
    # about the learning rate. Drawing moves the same rows, gently, or it undoes what the warm-up learned. Mirrored photos
    # are the cheapest way to more of them.
    # The drawn persons of the demo have no face that a face encoder would find: k-means for them too, said openly.
    short = {
        name: replace(
            getattr(paper.stages, name),
            epochs=epochs,
            initial_person={},
            understanding_batch=4,
            flip=0.5,
            average=average,
            optim=OptimConfig(lr=lr),
        )
        for name, epochs, lr, average in (
            ("warmup", 12, 0.05, 0.0),
            ("bootstrap", 4, 0.005, 0.0),
            # Lookalikes pull the boundary about from step to step; the mean stands where they pull it to.
            ("deepen", 8, 0.05, 0.5),
        )
    }
    quick = SamplingConfig(steps=16, guidance=3.0)
    return replace(
        paper,
        stages=StagesConfig(**short),
        perception=PerceptionConfig(images=8, early_step=4, late_step=11, sampling=quick),
        preview=PreviewConfig(every=4, sampling=quick),
    )


PRESETS: dict[str, RunConfig] = {"paper": _paper(), "authors_code": _authors_code(), "demo": _demo()}
"""Named configs."""
