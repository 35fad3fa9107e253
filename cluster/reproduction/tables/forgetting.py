"""What the base can still do (paper section C, Figure 7)."""

from cluster.reproduction.claims import Keeps
from cluster.reproduction.table import Column, Table, Variant
from cluster.reproduction.tables.common import INTERVALS, PAPER_NOTE
from unictokens.evaluation.ability import DRAWINGS, INTRODUCED, QUESTIONS, AbilitySettings
from unictokens.report.findings import Plot

FORGETTING = Table(
    name="forgetting",
    title="What the base can still do",
    source="Paper section C, Figure 7",
    variants=(
        Variant(
            name="original", contender="nothing", paper={"GenEval": 0.68, "MMMU / 100": 0.267, "POPE / 100": 0.800}
        ),
        Variant(name="stage 1", stage="warmup", paper={"GenEval": 0.67, "MMMU / 100": 0.266, "POPE / 100": 0.800}),
        Variant(name="stage 2", stage="bootstrap", paper={"GenEval": 0.66, "MMMU / 100": 0.266, "POPE / 100": 0.800}),
        Variant(name="stage 3", paper={"GenEval": 0.66, "MMMU / 100": 0.266, "POPE / 100": 0.800}),
    ),
    columns=(
        Column(QUESTIONS),
        Column(INTRODUCED),
        Column(DRAWINGS),
        Column("GenEval"),
        Column("MMMU / 100"),
        Column("POPE / 100"),
    ),
    claims=(
        Keeps("stage 3", "original", QUESTIONS, within=0.01, either_way=True),
        Keeps("stage 3", "original", DRAWINGS, within=0.01, either_way=True),
        Keeps("stage 3", "original", INTRODUCED, within=0.01, like_column=QUESTIONS),
    ),
    plot=Plot(kind="bars", columns=(QUESTIONS, INTRODUCED, DRAWINGS)),
    notes=(
        PAPER_NOTE,
        INTERVALS,
        "The base's weights never change (their hash is part of every examination): without a concept in the prompt it is the very same "
        "model, and there is nothing to measure. What is measured is the base with a concept loaded.",
        "'questions' and 'drawings' do not name the concept, but its rows stand in the output head, where they may win.",
        "'questions, introduced' asks the same about strangers' photos behind the concept's introduction, as its owner would.",
        "GenEval, MMMU and POPE are the paper's benchmarks of photographs, which the small base cannot sit; MMMU and POPE are divided "
        "by 100 here.",
    ),
    exam=AbilitySettings(),
)
