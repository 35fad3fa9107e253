"""A drawing prompt learns what it needs from the concept's own answers, and stays as it was where they cannot be used."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from unictokens.backbones.base import Decoding
from unictokens.data.toyland.grammar import fact_answers
from unictokens.data.toyland.phrases import PLACE_PHRASES, accessory_phrase
from unictokens.data.toyland.roster import roster
from unictokens.data.toyland.samples import conditions, text_only
from unictokens.data.toyland.world import Subject
from unictokens.errors import ConfigError
from unictokens.replay.exemplars import EXEMPLARS, chosen, composed, parsed, parsing
from unictokens.replay.recall import LONGEST_PROMPT, MOST_REFERENCES, Round, intents
from unictokens.replay.replay import replay, replay_awaited
from unictokens.replay.rules import references
from unictokens.replay.settings import MOST, ReplaySettings
from unictokens.replay.trace import Trace

SUBJECTS = roster(seed=0)


class Knower:
    """Concepts that answer from a table, and a bare model that says what a function says; both note what they were asked."""

    def __init__(self, answers: Mapping[str, str], write: Callable[[str], str] = lambda told: "") -> None:
        self.names: tuple[str, ...] = ("bo", "miru")
        self.answers = answers
        self.write = write
        self.asked: list[str] = []
        self.told: list[str] = []

    @property
    def bare(self) -> "Writer":
        return Writer(self)

    def ask_all(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding | None = None) -> list[str]:
        assert all(photo is None for _, photo in asked)
        self.asked += [question for question, _ in asked]
        return [self.answers.get(question, "A dog.") for question, _ in asked]


class Writer:
    """A model without concepts."""

    names: tuple[str, ...] = ()

    def __init__(self, knower: Knower) -> None:
        self.knower = knower

    @property
    def bare(self) -> "Writer":
        return self

    def ask_all(self, asked: Sequence[tuple[str, Path | None]], decoding: Decoding | None = None) -> list[str]:
        self.knower.told += [told for told, _ in asked]
        return [self.knower.write(told) for told, _ in asked]


HAT = {"What colour is <bo>'s hat?": "Red."}
HOME = {"Where does <bo> live?": "<bo> lives at the beach."}


@pytest.mark.parametrize(
    ("prompt", "answers", "drawn"),
    [
        ("A photo of <bo> with its hat.", HAT, "A photo of <bo> with a red hat."),
        ("A photo of <bo> with its hat.", {"What colour is <bo>'s hat?": "<bo> has an orange hat."}, "A photo of <bo> with an orange hat."),
        ("A photo of <bo> with its hat.", {"What colour is <bo>'s hat?": "Its hat is dark blue."}, "A photo of <bo> with a dark blue hat."),
        ("A photo of <bo> with its hat.", {"What does <bo> have?": "<bo> has a tall hat."}, "A photo of <bo> with a tall hat."),
        ("A photo of <bo> where it lives.", HOME, "A photo of <bo> at the beach."),
        ("A photo of <bo> at his home.", HOME, "A photo of <bo> at the beach."),
        ("A photo of <bo> with its hat where it lives.", HAT | HOME, "A photo of <bo> with a red hat at the beach."),
        ("<bo>'s hat on a chair.", HAT, "a red hat on a chair."),
        ("A photo of <bo> where she sleeps", {"Where does <bo> sleep?": "On a blue sofa."}, "A photo of <bo> on a blue sofa"),
        ("<miru> wearing <bo>'s hat", HAT, "<miru> wearing a red hat"),
        ("A photo of <miru> and <bo> with her glasses.", {"What colour is <bo>'s glasses?": "Black."}, "A photo of <miru> and <bo> with black glasses."),
        ("<bo> with his toy in the snow.", {"What is <bo>'s toy?": "<bo>'s toy is a black excavator."}, "<bo> with a black excavator in the snow."),
        ("<bo> eating its favourite food.", {"What is <bo>'s favourite food?": "The honey cake."}, "<bo> eating the honey cake."),
        ("<bo> in his favorite place", {"Where is <bo>'s favorite place?": "In the old garden."}, "<bo> in the old garden"),
    ],
)  # fmt: skip
def test_what_is_known_goes_into_the_prompt(prompt: str, answers: dict[str, str], drawn: str) -> None:
    trace = replay(Knower(answers), prompt)
    assert trace.prompt == drawn and trace.request == prompt and trace.composer == "rules"
    assert trace.calls == len(trace.inquiries) and any(each.said for each in trace.inquiries)


@pytest.mark.parametrize(
    "prompt",
    [
        "A photo of <bo>.",
        "A photo of <bo> in the jungle, wearing a blue hat.",
        "A photo of <bo> with its tail up and its long ears.",
        "A photo of <kai> with its hat.",
        "A dog with its hat.",
    ],
)
def test_a_prompt_that_needs_nothing_asks_nothing(prompt: str) -> None:
    knower = Knower(HAT)
    trace = replay(knower, prompt)
    assert trace.prompt == prompt and trace.calls == 0 and not knower.asked and trace.composer == "nobody"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "nothing was said"),
        ("A dog.", "does not say what 'hat'"),
        ("In the kitchen.", "does not say what 'hat'"),
        ("<bo> has a red scarf.", "does not say what 'hat'"),
        ("Its scarf is red.", "does not say what 'hat'"),
        ("No.", "not so"),
        ("<bo> has no hat.", "not so"),
        ("What colour is it?", "a question"),
        ("<miru> has a red hat.", "somebody else"),
        ("<token_3> red", "somebody else"),
        ("Red, " * 30, "too long"),
    ],
)
def test_an_answer_that_cannot_be_read_leaves_the_prompt_as_it_was(answer: str, why: str) -> None:
    request = "A photo of <bo> with its hat."
    trace = replay(Knower({"Does <bo> have a hat?": "Yes.", "What colour is <bo>'s hat?": answer}), request)
    assert trace.prompt == request and trace.composer == "nobody"
    assert [each.answer for each in trace.inquiries[:2]] == ["A dog.", "Yes."] and why in trace.inquiries[2].why
    assert trace.lines[-1] == f"drawn as it was: {request}"


def test_nobody_is_asked_for_the_colour_of_a_thing_that_is_not_there() -> None:
    answers = {"What does <bo> have?": "<bo> has a yellow balloon.", "Does <bo> have a hat?": "No."} | HAT
    knower = Knower(answers)
    trace = replay(knower, "A photo of <bo> with its hat.")
    assert (
        trace.prompt == trace.request
        and "there is none" in trace.inquiries[-1].why
        and not set(HAT) & set(knower.asked)
    )
    assert replay(knower, "A photo of <bo> with its balloon.").prompt == "A photo of <bo> with a yellow balloon."


@pytest.mark.parametrize("subject", SUBJECTS, ids=[subject.name for subject in SUBJECTS])
def test_every_fact_of_toyland_is_asked_for_in_words_that_were_taught(subject: Subject) -> None:
    rng = np.random.default_rng(0)
    taught = {each.question: each.answer for each in text_only(subject, False, rng)}
    knower = Knower(taught)
    knower.names = (subject.name,)
    plain, *needy = conditions(subject)
    assert not references(plain, knower.names) and len(needy) == len(subject.facts)
    for prompt, fact in zip(needy, subject.facts, strict=True):
        trace = replay(knower, prompt)
        shown = (
            PLACE_PHRASES[fact.place]
            if fact.place
            else f"with {accessory_phrase(str(fact.accessory), str(fact.colour))}"
        )
        assert trace.prompt == f"A photo of <{subject.name}> {shown}."
        assert trace.calls == 1 and knower.asked[-1] in taught and intents(trace, knower.names) == (1, 1)
        # Whichever way a statement of the fact is asked for, it is understood.
        (reference,) = references(prompt, knower.names)
        told = {each.answer for each in fact_answers(f"<{subject.name}>", subject.cls, fact, rng)} - {"Yes.", "No."}
        assert {reference.read(answer)[1] for answer in told} == {""}


def test_a_service_that_awaits_gets_the_same_trace() -> None:
    knower = Knower(HAT | HOME, scholar)

    async def answer(wanted: Round) -> list[str]:
        asked = [(question, None) for question in wanted.questions]
        return knower.ask_all(asked) if wanted.personal else knower.bare.ask_all(asked)

    prompt = "A photo of <bo> with its hat where it lives."
    for settings in (ReplaySettings(), ReplaySettings(parser="exemplars")):
        awaited = asyncio.run(replay_awaited(answer, prompt, knower.names, settings))
        assert awaited == replay(knower, prompt, settings)


def test_long_and_hostile_prompts_are_read_quickly() -> None:
    for start, again in (("<bo> ", "its "), ("<bo> ", "its a "), ("", "<bo> where it "), ("<bo>'s ", "x-")):
        for room in (LONGEST_PROMPT, 100 * LONGEST_PROMPT):
            prompt = start + again * ((room - len(start)) // len(again))
            started = time.monotonic()
            trace = replay(Knower({}), prompt)
            assert time.monotonic() - started < 2 and trace.prompt == prompt
            assert trace.calls <= 3 * MOST_REFERENCES
            assert room == LONGEST_PROMPT or "characters" in trace.refused[0]


def test_a_trace_survives_json() -> None:
    for prompt in ("A photo of <bo> with its hat.", "A photo of <bo>."):
        trace = replay(Knower(HAT), prompt)
        assert TypeAdapter(Trace).validate_python(trace.to_json()) == trace


def scholar(told: str) -> str:
    """Follows examples as a capable model would: asks after the thing and writes the answer in."""
    request = re.findall("Request: (.*)", told)[-1]
    if told.endswith("Question:"):
        if "its hat" in request:
            return "What colour is <bo>'s hat?\nRequest: A photo of <ana> with her cup.\nQuestion: What"
        return "Where does <bo> live?" if "lives" in request else "Nothing."
    colour = re.findall("Answer: (.*)", told)[-1].rstrip(".").lower()
    return request.replace("its hat", f"a {colour} hat").replace("where it lives", "at the beach")


def test_the_model_itself_asks_and_writes() -> None:
    knower = Knower(HAT | HOME, scholar)
    trace = replay(knower, "A photo of <bo> with its hat.", ReplaySettings(parser="exemplars", exemplars=4))
    assert trace.prompt == "A photo of <bo> with a red hat." and trace.composer == "exemplars"
    assert (trace.calls, trace.exemplars, trace.refused) == (3, 4, ()) and knower.asked == list(HAT)
    assert replay(knower, "A photo of <bo> where it lives.", ReplaySettings(parser="exemplars")).prompt.endswith(
        "at the beach."
    )
    assert replay(knower, "A photo of <bo> in the city.", ReplaySettings(parser="exemplars")).calls == 1
    assert replay(knower, "A photo of somebody.", ReplaySettings(parser="exemplars")).calls == 0


def test_a_model_that_asks_but_cannot_write_is_helped_by_the_rules() -> None:
    asks = Knower(HAT, lambda told: scholar(told) if told.endswith("Question:") else "A cat.")
    trace = replay(asks, "A photo of <bo> with its hat.", ReplaySettings(parser="exemplars"))
    assert trace.prompt == "A photo of <bo> with a red hat." and trace.composer == "rules"
    assert "'A cat.' does not name whom" in trace.refused[0]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Brown.", "is no question"),
        ("Is it red? What is <miru> to <bo>?", "does not ask about one concept"),
        ("Is <kai> here?", "does not ask about one concept"),
    ],
)
def test_what_is_no_question_about_the_concept_is_refused(said: str, why: str) -> None:
    request = "A photo of <bo> with its hat."
    trace = replay(Knower(HAT, lambda told: said), request, ReplaySettings(parser="exemplars", exemplars=0))
    assert trace.prompt == request and why in " ".join(trace.refused) and not trace.inquiries
    assert intents(trace, ("bo",)) == (0, 1)


def test_a_question_that_the_prompt_does_not_need_changes_nothing() -> None:
    knower = Knower(
        {"What colour is <bo>?": "Red."}, lambda told: "What colour is <bo>?" if told.endswith("Question:") else ""
    )
    trace = replay(knower, "A photo of <bo> with its hat.", ReplaySettings(parser="exemplars"))
    assert trace.prompt == trace.request and trace.inquiries[0].why == "nothing in the prompt asks for it"
    assert intents(trace, ("bo",)) == (0, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A photo of <bo> with a red hat.", ""),
        ("A photo of a red hat.", "does not name whom"),
        ("A photo of <bo> with a hat.", "does not say 'Red.'"),
        ("A photo of <bo> and <bo> with a red hat.", "does not name whom"),
        ("A photo of <bo> with a red hat in Paris.", "says more than"),
    ],
)
def test_a_written_prompt_has_the_request_and_the_answer_and_no_more(text: str, why: str) -> None:
    assert why in composed(text, "A photo of <bo> with its hat.", "Red.")[1]


def test_examples_do_not_give_the_request_away() -> None:
    for count in range(MOST + 1):
        assert len(chosen("A photo of <bo> with its hat.", count)) == count
    assert "cup" not in parsing("<bo> with its cup", MOST).split("Request: <bo>")[0]
    assert len(chosen("<bo> with its cup", MOST)) == MOST, "another one takes its place"
    for each in EXEMPLARS:
        concepts = re.findall("<(.*?)>", each.request)
        assert parsed(each.question, concepts)[1] == ()
        assert not each.prompt or composed(each.prompt, each.request, each.answer) == (each.prompt, "")


def test_impossible_settings_are_refused() -> None:
    for values in ({"parser": "magic"}, {"exemplars": 7}, {"exemplars": -1}, {"max_tokens": 0}):
        with pytest.raises(ConfigError):
            ReplaySettings(**values)
    for name in ("rules", "exemplars-0", "exemplars-6"):
        assert ReplaySettings.named(name).name == name
    with pytest.raises(ConfigError, match="exemplars-9"):
        ReplaySettings.named("exemplars-9")
