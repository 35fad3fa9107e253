"""How stage 3's tokens should begin (paper Table 3, right)."""

from cluster.reproduction.claims import Beats, Leads
from cluster.reproduction.table import Column, Table, Variant
from cluster.reproduction.tables.common import INTERVALS, MORE_TRAINING, NOTHING, PAPER_NOTE
from unictokens.report.findings import Plot


def _started(rule: str) -> dict[str, object]:
    return {"stages.deepen.initial": {"understanding": rule}}


OTHER_STARTS = ("more training", "random numbers", "image codes", "full image", "random patch")

INIT = Table(
    name="init",
    title="How stage 3's tokens should begin",
    source="Paper Table 3, right",
    variants=(
        NOTHING,
        Variant(name="stage 1", stage="warmup", paper={"rec": 0.637, "vqa score": 0.538, "qa score": 0.427}),
        Variant(
            name="more training",
            changed=MORE_TRAINING,
            note="no new tokens: stage 3's data for the identifier and the shared rows",
        ),
        Variant(
            name="random numbers",
            changed=_started("random"),
            paper={"rec": 0.670, "vqa score": 0.520, "qa score": 0.429},
            note="new rows of normal numbers as long as image rows. The paper's 'No Init' stands here, but its text describes that "
            "baseline as fine-tuning with the same data, which is 'more training'; and rows that the published code leaves alone "
            "begin as image codes, which is the next line",
        ),
        Variant(
            name="image codes",
            changed=_started("image_codes"),
            note="what the published code's resized vocabulary has where nothing is assigned: codes of the same numbers",
        ),
        Variant(
            name="full image",
            changed=_started("full_image"),
            paper={"rec": 0.723, "vqa score": 0.529, "qa score": 0.423},
        ),
        Variant(
            name="random patch",
            changed=_started("random_patch"),
            paper={"rec": 0.681, "vqa score": 0.520, "qa score": 0.421},
        ),
        Variant(name="perception", paper={"rec": 0.790, "vqa score": 0.523, "qa score": 0.431}),
    ),
    columns=tuple(Column(name) for name in ("rec", "recall", "no recall", "lookalike recall", "vqa score", "qa score")),
    claims=(
        Leads("perception", OTHER_STARTS, "rec"),
        Beats("perception", "more training", "rec", clearly=True),
        Beats("perception", "random numbers", "rec", clearly=True),
        Beats("perception", "full image", "rec", clearly=True),
        Beats("perception", "random patch", "rec", clearly=True),
    ),
    plot=Plot(kind="bars", columns=("rec", "vqa score", "qa score")),
    notes=(
        PAPER_NOTE,
        INTERVALS,
        "All begin stage 3 from the same rows: stages 1 and 2 are trained once per concept and seed.",
        "The paper's answers about facts score 0.42 to 0.43 here and 0.60 for the same models in the left half of its Table 3: "
        "the two halves cannot both be right.",
    ),
    attends=True,
)
