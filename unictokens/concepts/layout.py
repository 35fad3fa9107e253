"""How the learned rows of one concept are ordered, and the sentences they stand in.

Order (paper section 3.2): identifier, K shared, M generation, N understanding. A later stage only appends groups,
so the rows that exist at any stage are a prefix of this order.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from unictokens.errors import ConceptError

Group = Literal["identifier", "shared", "generation", "understanding"]
GROUPS: tuple[Group, ...] = get_args(Group)


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """Counts of learned rows per group: K `shared`, M `generation`, N `understanding`; the identifier is always one."""

    shared: int = 16
    generation: int = 8
    understanding: int = 8

    def __post_init__(self) -> None:
        for group in GROUPS[1:]:
            if not 0 <= self.count(group) <= 512:
                raise ConceptError(f"layout.{group} is {self.count(group)}: choose a number from 0 to 512")

    def count(self, group: Group) -> int:
        """Number of rows in `group`."""
        return {
            "identifier": 1,
            "shared": self.shared,
            "generation": self.generation,
            "understanding": self.understanding,
        }[group]

    def rows(self, *groups: Group) -> tuple[int, ...]:
        """Row numbers of `groups`, in the order given."""
        found: list[int] = []
        for group in groups:
            start = sum(self.count(earlier) for earlier in GROUPS[: GROUPS.index(group)])
            found.extend(range(start, start + self.count(group)))
        return tuple(found)

    def through(self, group: Group) -> int:
        """Number of rows from the identifier up to and including `group`: the rows that exist once it is trained."""
        return sum(self.count(earlier) for earlier in GROUPS[: GROUPS.index(group) + 1])

    @property
    def total(self) -> int:
        """All rows of the concept (33 for the paper's 16/8/8)."""
        return self.through("understanding")
