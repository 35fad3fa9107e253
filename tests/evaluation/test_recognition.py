"""Recognition is scored as published: substrings, and the mean of both recalls."""

from pathlib import Path

import pytest

from unictokens.backbones.base import Decoding
from unictokens.data.records import ConceptRecord, ExamQuestion
from unictokens.errors import DataError
from unictokens.evaluation.recognition import Recognition, measure_recognition


class Says:
    """Stands for a pipeline: gives these answers in order and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), []

    def ask_all(self, asked: list[tuple[str, Path | None]], decoding: Decoding) -> list[str]:
        self.asked = asked
        return self.answers


def record(*truths: str) -> ConceptRecord:
    exam = [
        ExamQuestion("rec", f"<image>\nIs <bo> here? {at}", truth, Path(f"{at}.png")) for at, truth in enumerate(truths)
    ]
    exam.append(ExamQuestion("vqa", "<image>\nWhere?", "Here.", Path("9.png")))
    return ConceptRecord(name="bo", root=Path("."), cls="dog", info="", photos=(), exam=tuple(exam))


def measure(says: Says, *truths: str) -> Recognition:
    return measure_recognition(says, record(*truths), Decoding())  # type: ignore[arg-type]


def test_score_is_the_mean_of_both_recalls() -> None:
    says = Says("Yes, <bo> is.", "I do.", "NO.", "I know him.", "Yes.")
    found = measure(says, "Yes.", "No.", "Yes.", "No.", "No.")
    assert (found.recall, found.positives) == (0.5, 2)
    assert found.no_recall == pytest.approx(2 / 3)  # "know" counts, as it does in the published evaluation
    assert found.score == pytest.approx((0.5 + 2 / 3) / 2)
    assert says.asked[0] == ("Is <bo> here? 0", Path("0.png"))


def test_always_yes_is_worth_one_half() -> None:
    assert measure(Says("yes", "yes", "yes"), "Yes.", "No.", "No.").score == 0.5


def test_a_one_sided_test_is_refused() -> None:
    with pytest.raises(DataError, match=r"bo\.json has 1 positive and 0 negative"):
        measure(Says("yes"), "Yes.")
