"""What several tables share: controls, notes, and the variant of stage 3 without new tokens."""

from cluster.reproduction.table import Variant

NOTHING = Variant(
    name="no concept", contender="nothing", note="the bare base, to which the concept's name is a word like any other"
)
TEXT = Variant(
    name="text prompt", contender="text", note="a description and the facts in place of tokens, no training ('TP')"
)
REAL = Variant(
    name="real photos",
    contender="real",
    paper={"clip-i": 0.832, "dino": 0.728, "face": 0.739, "knowledge clip-i": 0.832},
    note="each training photo beside the others; the paper's numbers are of its Table 1, where a photo is also compared with itself",
)
PAPER_NOTE = (
    "The paper's numbers are of Show-o (1.3 B) on photographs, ours of the small base in Toyland: directions can be compared, "
    "numbers cannot."
)
INTERVALS = (
    "Means over concepts, seeds of a concept averaged first, with 95 % Student t intervals over the concepts; differences are "
    "paired over concepts."
)

MORE_TRAINING = {
    "stages.deepen.initial": {},
    "stages.deepen.trains": ["identifier", "shared"],
    "stages.deepen.introduction": ["shared"],
}
"""Stage 3's data for the rows that questions already have."""
