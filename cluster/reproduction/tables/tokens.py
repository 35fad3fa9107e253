"""How many tokens a concept needs (paper Figure 10)."""

from cluster.reproduction.claims import Beats, Leads, Rises
from cluster.reproduction.table import Column, Table, Variant
from cluster.reproduction.tables.common import INTERVALS, NOTHING, PAPER_NOTE
from unictokens.report.findings import Plot


def _tokens(shared: int, generation: int, understanding: int, rec: float, clip_i: float, clip_t: float) -> Variant:
    total = shared + generation + understanding
    counts = {"shared": shared, "generation": generation, "understanding": understanding}
    return Variant(
        name=f"{total} tokens",
        changed={f"layout.{group}": count for group, count in counts.items()},
        paper={"rec": rec, "clip-i": clip_i, "clip-t": clip_t},
        note="the identifier's row alone is trained" if total == 0 else "",
        x=float(total),
    )


TOKENS = Table(
    name="tokens",
    title="How many tokens a concept needs",
    source="Paper Figure 10",
    variants=(
        NOTHING,
        _tokens(0, 0, 0, 0.608, 0.677, 0.271),
        _tokens(1, 0, 0, 0.641, 0.680, 0.274),
        _tokens(2, 1, 1, 0.682, 0.688, 0.275),
        _tokens(4, 2, 2, 0.727, 0.707, 0.277),
        _tokens(8, 4, 4, 0.754, 0.731, 0.279),
        _tokens(16, 8, 8, 0.790, 0.750, 0.282),
        _tokens(32, 16, 16, 0.793, 0.763, 0.271),
    ),
    columns=(Column("rec"), Column("clip-i"), Column("clip-t"), Column("knowledge score")),
    claims=(
        Rises(tuple(f"{total} tokens" for total in (0, 1, 4, 8, 16, 32)), "rec"),
        Beats("32 tokens", "0 tokens", "rec", clearly=True),
        Beats("32 tokens", "0 tokens", "clip-i"),
        Leads("32 tokens", tuple(f"{total} tokens" for total in (0, 1, 4, 8, 16, 64)), "clip-t"),
    ),
    plot=Plot(kind="lines", columns=("rec", "clip-i", "clip-t"), x_label="soft tokens, all groups together"),
    notes=(
        PAPER_NOTE,
        INTERVALS,
        "Soft tokens are counted without the identifier, which every variant but 'no concept' trains. K, M and N are the paper's.",
    ),
)
