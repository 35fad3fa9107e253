"""The spaces that come with the product. Every setting of a run can be searched; these are the questions asked most."""

from pathlib import Path

from tune_spaces.domain import Choice, FloatRange, IntRange
from tune_spaces.space import Space, read_space
from unictokens.errors import ConfigError

AROUND = FloatRange(0.1, 10.0, log=True, times=True)
"""A decade below and above what the configuration has: what is right differs by a hundred between the small base and Show-o."""

TOKENS = {
    "layout.shared": IntRange(1, 32, log=True),
    "layout.generation": IntRange(1, 16, log=True),
    "layout.understanding": IntRange(1, 16, log=True),
}
RATES = {f"stages.{stage}.optim.lr": AROUND for stage in ("warmup", "bootstrap", "deepen")}

SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        Space("token_budget", "how many tokens a concept needs: K shared, M generation, N understanding", TOKENS),
        Space("learning_rates", "the learning rate of each stage", RATES),
        Space("tokens_and_rates", "token counts and learning rates together", {**TOKENS, **RATES}),
        Space(
            "loss_balance",
            "how much drawing and questions weigh against each other where both are learned",
            {
                "stages.bootstrap.generation_weight": FloatRange(0.1, 0.9),
                "stages.bootstrap.understanding_weight": FloatRange(0.1, 0.9),
                "stages.deepen.generation_weight": FloatRange(0.0, 0.9),
                "stages.deepen.understanding_weight": FloatRange(0.1, 0.9),
            },
        ),
        Space(
            "guidance",
            "how often drawing is learned without its text, and how strongly perception is guided by it",
            {
                "stages.bootstrap.condition_dropout": Choice((0.0, 0.05, 0.1, 0.2)),
                "stages.deepen.condition_dropout": Choice((0.0, 0.05, 0.1, 0.2)),
                "perception.sampling.guidance": FloatRange(0.0, 8.0),
            },
        ),
        Space(
            "beginnings",
            "what new tokens start from",
            {
                "stages.warmup.initial.shared": Choice(("kmeans_images", "class_word", "random")),
                "stages.bootstrap.initial.generation": Choice(("kmeans_images", "image_codes", "random")),
                "stages.deepen.initial.understanding": Choice(("perception", "kmeans_images", "full_image", "random")),
            },
        ),
        Space(
            "regularisation",
            "mirrored photos, and how strongly rows are pulled towards zero",
            {"stages.*.flip": Choice((0.0, 0.25, 0.5)), "stages.*.optim.weight_decay": Choice((0.0, 1e-4, 1e-3, 1e-2))},
        ),
    )
}


def find_space(source: str) -> Space:
    """A space by name, or a user's own from a JSON file. Raises ConfigError."""
    if source in SPACES:
        return SPACES[source]
    if Path(source).is_file():
        return read_space(Path(source))
    raise ConfigError(f"--space '{source}' is neither a space ({', '.join(SPACES)}) nor a JSON file")
