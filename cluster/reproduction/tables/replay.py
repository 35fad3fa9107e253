"""Saying what one knows before drawing it, and how many examples that takes (OmniPersona, Table 2 and Figure 6b)."""

from dataclasses import replace

from cluster.reproduction.claims import Beats, Keeps, Rises
from cluster.reproduction.table import Column, Table, Variant
from cluster.reproduction.tables.common import INTERVALS, NOTHING, TEXT
from unictokens.evaluation.contenders import REPLAY
from unictokens.evaluation.exam import EXAMS
from unictokens.evaluation.score import INTENTS, RECALLED
from unictokens.replay.settings import ReplaySettings
from unictokens.report.findings import Plot

KNOWLEDGE = "knowledge score"
COUNTS = (0, 1, 2, 4, 6)
PAPER = {0: 0.30, 6: 0.62}
"""What the paper's text says of its Figure 6b; the points between are not printed."""


def _shown(count: int) -> Variant:
    settings = ReplaySettings(parser="exemplars", exemplars=count)
    return Variant(
        name=f"{count} exemplar{'s' * (count != 1)}",
        contender=REPLAY + settings.name,
        paper={KNOWLEDGE: PAPER[count]} if count in PAPER else {},
        x=float(count),
        series="the model asks",
    )


PLAIN = Variant(
    name="no replay", paper={KNOWLEDGE: 0.312}, note="the rows' own drawings of the same prompts with the same seeds"
)
RULES = Variant(
    name="rules", contender=REPLAY + ReplaySettings().name, note="patterns in place of the model as the parser"
)
BY_COUNT = tuple(_shown(count) for count in COUNTS)

REPLAYS = Table(
    name="replay",
    title="Saying what one knows before drawing it",
    source="OmniPersona (arXiv 2601.06965) Table 2 and Figure 6b",
    variants=(NOTHING, TEXT, PLAIN, *BY_COUNT, RULES),
    columns=tuple(Column(name) for name in (KNOWLEDGE, "knowledge clip-i", INTENTS, RECALLED)),
    claims=(
        Beats(RULES.name, PLAIN.name, KNOWLEDGE, by=0.2, clearly=True),
        Keeps(RULES.name, TEXT.name, KNOWLEDGE, within=0.1),
        Rises(tuple(each.name for each in BY_COUNT), INTENTS),
        Rises(tuple(each.name for each in BY_COUNT), KNOWLEDGE),
        Beats(BY_COUNT[-1].name, PLAIN.name, KNOWLEDGE),
    ),
    plot=Plot(kind="lines", columns=(KNOWLEDGE, INTENTS), x_label="examples that the model is shown"),
    notes=(
        "The paper's numbers are of Bagel (7 B active) on photographs, ours of the small base in Toyland: directions can be compared, "
        "numbers cannot.",
        INTERVALS,
        f"'{INTENTS}': of the things that the prompts refer to, how many the model asked for; '{RECALLED}': of the prompts about facts, "
        "how many were drawn with an answer in them.",
        "The small base was taught to follow examples, of names and things that are not these, in which one of five ways of asking "
        "holds: shown none, it cannot know which one is meant. The answers are the rows' own in every line.",
    ),
    exam=replace(EXAMS["toyland"], pure=0, portraits=1),
)
