"""A drawn world: persons, pets and objects in six places, with words for what they share and none for who they are.

Read `world` for what exists, `renderer` for how it looks, `grammar` for what is asked about it, `writer` for datasets.
"""

from unictokens.data.toyland.grammar import Question, fact_questions, questions
from unictokens.data.toyland.phrases import caption, description, full_description
from unictokens.data.toyland.renderer import render, subject_box
from unictokens.data.toyland.residents import (
    resident_caption,
    resident_facts,
    resident_photo,
    resident_questions,
    residents,
)
from unictokens.data.toyland.world import (
    Fact,
    FineIdentity,
    Photo,
    Pose,
    Subject,
    hard_negative,
    random_photo,
    random_subject,
)

__all__ = [
    "Fact",
    "FineIdentity",
    "Photo",
    "Pose",
    "Question",
    "Subject",
    "caption",
    "description",
    "fact_questions",
    "full_description",
    "hard_negative",
    "questions",
    "random_photo",
    "random_subject",
    "render",
    "resident_caption",
    "resident_facts",
    "resident_photo",
    "resident_questions",
    "residents",
    "subject_box",
]
