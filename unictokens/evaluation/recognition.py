"""Does the model see the concept where it is, and only there? (paper table 1, "Rec")

Scored as the published evaluation does: a positive counts when the answer contains "yes", a negative when it contains
"no", letter case aside; the score is the mean of both recalls, so a model that always says yes gets one half.
"""

from dataclasses import dataclass

from unictokens.backbones.base import Decoding
from unictokens.data.records import ConceptRecord
from unictokens.errors import DataError
from unictokens.pipeline import Pipeline


@dataclass(frozen=True)
class Recognition:
    """Shares of right answers in [0, 1], and how many questions they are of."""

    recall: float
    no_recall: float
    positives: int
    negatives: int

    @property
    def score(self) -> float:
        """Mean of both recalls."""
        return (self.recall + self.no_recall) / 2


def measure_recognition(pipeline: Pipeline, record: ConceptRecord, decoding: Decoding) -> Recognition:
    """Ask the recognition questions of the concept's test, greedily.

    A pipeline without the concept measures what its name alone tells the base. Raises DataError when the test lacks
    positives or negatives, or a picture cannot be read.
    """
    exam = [question for question in record.exam if question.kind == "rec"]
    positives = [question for question in exam if question.positive]
    negatives = [question for question in exam if not question.positive]
    if not positives or not negatives:
        raise DataError(
            f"test_data/{record.name}.json has {len(positives)} positive and {len(negatives)} negative recognition "
            "questions: it needs both"
        )
    said = pipeline.ask_all([(question.text, question.image) for question in [*positives, *negatives]], decoding)
    yes = ["yes" in answer.lower() for answer in said[: len(positives)]]
    no = ["no" in answer.lower() for answer in said[len(positives) :]]
    return Recognition(sum(yes) / len(yes), sum(no) / len(no), len(yes), len(no))
