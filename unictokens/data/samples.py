"""Dataset texts to prompts, with the learned rows where the published code puts them.

Everything here is pure: records and settings in, prompts and turns out. `<name>` in any text becomes the identifier's row;
`<image>` is only a mark, the picture always stands before the text.
"""

from collections.abc import Sequence

from unictokens.backbones.base import Turn
from unictokens.concepts.layout import Group, TokenLayout
from unictokens.concepts.prompt import Prompt, fill, identifier, introduction, join, subject
from unictokens.data.records import IMAGE_MARK, ConceptRecord, Dialogue

EVALUATION_NAME = "sks"
"""Placeholder of the concept in the shared evaluation prompts."""


def named(record: ConceptRecord, layout: TokenLayout, text: str) -> Prompt:
    """`text` with every `<name>` replaced by the identifier's row."""
    return fill(text, {record.name: identifier(layout)})


def dialogue_turns(
    record: ConceptRecord, layout: TokenLayout, introduces: Sequence[Group], dialogue: Dialogue
) -> tuple[Turn, ...]:
    """The turns of a training dialogue.

    The introduction "<name> is <soft tokens>." goes before the first question, after which no space follows, and is said
    once. `<image>` is deleted together with white space at the ends of its turn; with the usual "<image>\\nQ" the line
    break survives behind the introduction (published code).
    """
    turns = []
    for at, exchange in enumerate(dialogue.exchanges):
        before = introduction(layout, tuple(introduces)) if at == 0 else ()
        question = with_introduction(record, layout, before, exchange.question)
        turns.append(Turn(question, named(record, layout, exchange.answer)))
    return tuple(turns)


def with_introduction(record: ConceptRecord, layout: TokenLayout, before: Prompt, text: str) -> Prompt:
    """A turn's text behind `before`, its image mark removed as `dialogue_turns` describes."""
    filled = join(before, named(record, layout, text.replace(IMAGE_MARK, "")))
    return _strip(filled) if IMAGE_MARK in text else filled


def question_prompt(record: ConceptRecord, layout: TokenLayout, introduces: Sequence[Group], text: str) -> Prompt:
    """A question at inference: the introduction, a line break, the question (published evaluation).

    Without soft tokens it is the question alone. The published script loses ".\\n" when there are no stage-3 tokens;
    that is not followed.
    """
    before = introduction(layout, tuple(introduces))
    question = _strip(named(record, layout, text.replace(IMAGE_MARK, "")))
    return join(before, "\n", question) if before else question


def generation_prompt(layout: TokenLayout, groups: Sequence[Group]) -> Prompt:
    """ "A photo of <soft tokens> <name>.", the drawing prompt of training (paper section 3.2)."""
    return join("A photo of ", subject(layout, tuple(groups)), ".")


def perception_prompt(record: ConceptRecord, layout: TokenLayout, groups: Sequence[Group]) -> Prompt:
    """The prompt of the pictures that are watched between stages 2 and 3: a face for persons, the thing otherwise."""
    ending = "'s face in detail." if record.is_person else " in the middle of the photo."
    return join("A photo of ", subject(layout, tuple(groups)), ending)


def drawing_prompt(record: ConceptRecord, layout: TokenLayout, groups: Sequence[Group], text: str) -> Prompt:
    """An evaluation or user prompt with `<name>` or `<sks>` replaced by soft tokens and name (published "inverse")."""
    stands = subject(layout, tuple(groups))
    return fill(text, {record.name: stands, EVALUATION_NAME: stands})


def _strip(prompt: Prompt) -> Prompt:
    pieces = list(prompt)
    if pieces and isinstance(pieces[0], str):
        pieces[0] = pieces[0].lstrip()
    if pieces and isinstance(pieces[-1], str):
        pieces[-1] = pieces[-1].rstrip()
    return join(tuple(pieces))
