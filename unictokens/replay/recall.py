"""The three steps of a replay: what must be known, what the concept's own rows say of it, the prompt with that in it.

Nobody answers here: `recall` is a generator that says what to ask next, is sent the answers and returns the trace, so that a
pipeline, a service that awaits and a test each drive it in their own way.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from unictokens.replay.exemplars import composed, composing, parsed, parsing
from unictokens.replay.rules import DENIED, Reference, compose, doubtful, references
from unictokens.replay.settings import ReplaySettings
from unictokens.replay.trace import Composer, Inquiry, Trace


@dataclass(frozen=True)
class Round:
    """Questions without a picture, to be answered greedily in at most `max_tokens` each.

    personal  whether the concepts answer, each introduced by its rows, or the bare model to which their names are words
    """

    questions: tuple[str, ...]
    personal: bool
    max_tokens: int


WRITTEN_TOKENS = 128
"""Room for a prompt that the model writes: Show-o reads no longer one."""
LONGEST_PROMPT, MOST_REFERENCES = 2000, 8
"""Characters of a prompt beyond which it is left alone, and things that are asked for: anybody may write prompts."""

Recalling = Generator[Round, Sequence[str], Trace]


def recall(prompt: str, names: Sequence[str], settings: ReplaySettings) -> Recalling:
    """Replay what the concepts `names` know for a drawing prompt; an answer that cannot be used leaves it as it is."""
    if len(prompt) > LONGEST_PROMPT:
        return _left_alone(prompt, settings, f"the prompt has {len(prompt)} characters, more than {LONGEST_PROMPT}")
    if settings.parser == "rules":
        return _by_rules(prompt, names, settings)
    return _by_exemplars(prompt, names, settings)


def _left_alone(prompt: str, settings: ReplaySettings, *refused: str) -> Recalling:
    shown = settings.exemplars if settings.parser == "exemplars" else 0
    return Trace(request=prompt, prompt=prompt, parser=settings.parser, exemplars=shown, refused=refused)
    yield  # a generator that asks nothing


def _by_rules(prompt: str, names: Sequence[str], settings: ReplaySettings) -> Recalling:
    found = references(prompt, names)
    waiting, left_out = list(found[:MOST_REFERENCES]), found[MOST_REFERENCES:]
    said: dict[Reference, str] = {}
    inquiries: list[Inquiry] = []
    turn = 0
    while waiting := [each for each in waiting if turn < len(each.questions)]:
        answers = yield Round(tuple(each.questions[turn] for each in waiting), True, settings.max_tokens)
        left = []
        for each, answer in zip(waiting, answers, strict=True):
            words, why = each.reply(turn, answer)
            inquiries.append(_inquiry(prompt, each, each.questions[turn], answer, words, why))
            if words:
                said[each] = words
            elif why != DENIED:
                left.append(each)
        waiting, turn = left, turn + 1
    return Trace(
        request=prompt,
        prompt=compose(prompt, said),
        parser="rules",
        inquiries=tuple(inquiries),
        refused=(f"{len(left_out)} more things are not asked for",) if left_out else (),
        composer="rules" if said else "nobody",
        calls=len(inquiries),
    )


def _by_exemplars(prompt: str, names: Sequence[str], settings: ReplaySettings) -> Recalling:
    if not any(f"<{name}>" in prompt for name in names):
        return (yield from _left_alone(prompt, settings))
    (said,) = yield Round((parsing(prompt, settings.exemplars),), False, settings.max_tokens)
    wanted, refused = parsed(said, names)
    answers = (yield Round(tuple(each for _, each in wanted), True, settings.max_tokens)) if wanted else ()
    current, calls = prompt, 1 + len(wanted)
    by: Composer = "nobody"
    inquiries: list[Inquiry] = []
    for (concept, question), answer in zip(wanted, answers, strict=True):
        if why := doubtful(answer, concept):
            inquiries.append(Inquiry(concept=concept, about="", question=question, answer=answer, why=why))
            continue
        task = composing(current, answer, settings.exemplars)
        (said,) = yield Round((task,), False, WRITTEN_TOKENS)
        calls += 1
        text, why = composed(said, current, answer)
        if text:
            inquiries.append(Inquiry(concept=concept, about="", question=question, answer=answer, said=answer))
            current, by = text, "exemplars"
            continue
        # A model that asks well but cannot write has its answer put in by the rules.
        refused = (*refused, why)
        inquiry, current = _put(current, names, concept, question, answer)
        inquiries.append(inquiry)
        by = "rules" if inquiry.said and by == "nobody" else by
    return Trace(
        request=prompt,
        prompt=current,
        parser="exemplars",
        exemplars=settings.exemplars,
        inquiries=tuple(inquiries),
        refused=refused,
        composer=by,
        calls=calls,
    )


def _put(prompt: str, names: Sequence[str], concept: str, question: str, answer: str) -> tuple[Inquiry, str]:
    for each in references(prompt, names):
        if each.concept == concept and each.asked_by(question):
            words, why = each.read(answer)
            made = compose(prompt, {each: words}) if words else prompt
            return _inquiry(prompt, each, question, answer, words, why), made
    why = "nothing in the prompt asks for it"
    return Inquiry(concept=concept, about="", question=question, answer=answer, why=why), prompt


def _inquiry(prompt: str, each: Reference, question: str, answer: str, said: str, why: str) -> Inquiry:
    about = prompt[each.start : each.end]
    return Inquiry(concept=each.concept, about=about, question=question, answer=answer, said=said, why=why)


def intents(trace: Trace, names: Sequence[str]) -> tuple[int, int]:
    """How many of the things that the rules see in a request were asked for, and how many there are."""
    wanted = references(trace.request, names)
    asked = [each.question for each in trace.inquiries]
    return sum(any(each.asked_by(question) for question in asked) for each in wanted), len(wanted)
