"""Better understanding, better drawing (paper Figure 6, left)."""

from cluster.reproduction.claims import Beats, Claim, GoTogether
from cluster.reproduction.table import Column, Table, Variant
from cluster.reproduction.tables.common import INTERVALS, MORE_TRAINING
from unictokens.report.findings import Plot

REC_FIRST = Column("rec", stage="warmup")
WHOLE = {"stages.bootstrap.start_epoch": None}
"""The bootstrap stage starts where the warm-up ends, however long that was."""
SHORT_END = {
    **MORE_TRAINING,
    **WHOLE,
    "stages.deepen.epochs": 1,
    "stages.deepen.understanding_limit": 4,
}
"""The last stage is not looked at here: as little of it as there can be."""
FULL_WARMUP = Variant(name="whole warm-up", changed=WHOLE, stage="bootstrap", series="epochs", short="whole")


def _less(series: str, setting: str, short: str, count: int) -> Variant:
    changed = {**SHORT_END, f"stages.warmup.{setting}": count}
    return Variant(name=f"warm-up: {short}", changed=changed, stage="bootstrap", series=series, short=short)


BY_EPOCHS = (
    *(_less("epochs", "epochs", f"{count} epoch{'s' * (count > 1)}", count) for count in (1, 3, 8)),
    FULL_WARMUP,
)
BY_DATA = tuple(_less("data", "understanding_limit", f"{count} items", count) for count in (8, 24, 64))


def _together(other: str) -> tuple[Claim, ...]:
    by_epochs, by_data = (tuple(each.name for each in series) for series in (BY_EPOCHS, (*BY_DATA, FULL_WARMUP)))
    return (
        GoTogether(by_epochs, REC_FIRST.label, other, by="epochs of warm-up"),
        GoTogether(by_data, REC_FIRST.label, other, by="data of the warm-up"),
        Beats(FULL_WARMUP.name, BY_EPOCHS[0].name, other),
    )


UNDERSTANDING_TO_GENERATION = Table(
    name="understanding-to-generation",
    title="Better understanding, better drawing",
    source="Paper Figure 6, left",
    variants=(*BY_EPOCHS, *BY_DATA),
    columns=(REC_FIRST, Column("clip-i"), Column("knowledge score"), Column("rec")),
    claims=(*_together("clip-i"), *_together("knowledge score")),
    plot=Plot(
        kind="scatter", columns=(REC_FIRST.label, "clip-i", "knowledge score"), x_label="recognition after stage 1"
    ),
    notes=(
        INTERVALS,
        "The bootstrap stage is the same for all and starts from warm-ups of fewer epochs, or of fewer questions and answers (spread "
        "evenly over the file, as many epochs). The paper shows this as a drawing without numbers.",
        "Other columns are of the rows after stage 2.",
    ),
)
