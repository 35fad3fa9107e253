"""Claims of a table: verdicts follow from the numbers and from how sure they are."""

from collections.abc import Callable

import pytest

from cluster.reproduction.claims import Beats, GoTogether, Keeps, Leads, Lies, Rises
from unictokens.evaluation.interval import Values


def look_at(**values: Values) -> Callable[[str, str], Values]:
    return lambda variant, column: values.get(variant, {})


A, B, C = {"x": [0.5], "y": [0.52]}, {"x": [0.7, 0.7], "y": [0.74]}, {"x": [0.6], "y": [0.9]}


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (Lies("b", "rec", 0.72), True),
        (Lies("b", "rec", 0.73), False),
        (Lies("nobody", "rec", 0.1), None),
        (Lies("a", "rec", 0.49, 0.51), True),
        (Lies("a", "rec", 0.491, 0.509), False),
        (Beats("b", "a", "rec", by=0.05), True),
        (Beats("b", "a", "rec", by=0.35), False),
        (Beats("a", "a", "rec"), False),
        (Beats("c", "a", "rec", clearly=True), False),  # above, but with a very wide interval
        (Beats("b", "nobody", "rec"), None),
        (Keeps("a", "b", "rec", within=0.05), False),
        (Keeps("b", "a", "rec", within=0.01), True),
        (Keeps("b", "a", "rec", within=0.01, either_way=True), False),
        (Leads("c", ("a", "b"), "rec"), True),
        (Leads("b", ("a", "c"), "rec"), False),
        (Leads("c", ("a", "nobody"), "rec"), None),
        (Rises(("a", "b", "c"), "rec"), True),
        (Rises(("a", "c", "b"), "rec"), False),
        (GoTogether(("a", "b", "c"), "rec", "rec", "luck"), True),
        (GoTogether(("a", "nobody"), "rec", "rec", "luck"), None),
    ],
)
def test_verdicts_follow_from_the_numbers(claim, holds: bool | None) -> None:
    finding = claim.check(look_at(a=A, b=B, c=C))
    assert finding.holds is holds and finding.claim == claim.text and finding.said


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Beats("b", "a", "rec"), "holds"),
        (Beats("a", "b", "rec"), "does not hold"),
        (Beats("c", "b", "rec"), "undecided"),  # +.14 ± more
        (Beats("b", "nobody", "rec"), "not measured"),
        (Keeps("c", "b", "rec", within=0.1), "undecided"),
        (Keeps("c", "b", "rec", within=5.0), "holds"),
        (Beats("b", "a", "rec", by=0.21), "undecided"),
        (Keeps("c", "b", "rec", within=1.0, either_way=True), "undecided"),
    ],
)
def test_what_an_interval_leaves_open_is_undecided(claim, verdict: str) -> None:
    assert claim.check(look_at(a=A, b=B, c=C)).verdict == verdict
