"""The option `replay` of drawings and chats: the concept says first what a text refers to, and the trace is returned."""

import json

from fake_client import FakeClient, plain
from people import Person

from serve.api.state import House
from serve.replaying import asks_itself
from unictokens.errors import Busy

HAT = {"What does [bo] have?": "<bo> has a red hat."}


def draw(who: Person, prompt: str, **more):  # type: ignore[no-untyped-def]
    return who.post("/v1/images/generations", json={"prompt": prompt, "steps": 1, **more})


def drawn(fake: FakeClient) -> str:
    """What was drawn last, without the concepts' rows."""
    return "".join(piece for piece in fake.drawn[-1].prompt if isinstance(piece, str))


def test_a_drawing_has_in_it_what_the_concept_said(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    fake.knows = HAT
    answer = draw(ada, "A photo of <bo> with its hat.", replay="rules", n=2).json()
    assert "with a red hat." in drawn(fake) and len(fake.asked) == 1 and len(answer["data"]) == 2
    trace = answer["replay"]
    assert (trace["request"], trace["prompt"]) == ("A photo of <bo> with its hat.", "A photo of <bo> with a red hat.")
    assert [(each["question"], each["said"]) for each in trace["inquiries"]] == [("What does <bo> have?", "a red hat")]
    assert [reference.name for reference in fake.asked[0].concepts] == ["bo"] and fake.asked[0].user == ada.user.id


def test_without_the_option_nothing_is_asked_and_nothing_told(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    assert "replay" not in draw(ada, "A photo of <bo> with its hat.").json()
    assert not fake.asked and "with its hat." in drawn(fake)


def test_an_answer_that_cannot_be_read_leaves_the_prompt_as_it_was(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    trace = draw(ada, "A photo of <bo> with its hat.", replay="rules").json()["replay"]
    assert trace["prompt"] == trace["request"] and trace["inquiries"][0]["why"] and "with its hat." in drawn(fake)


def test_a_prompt_that_would_become_too_long_is_drawn_as_it_was(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    fake.knows = {"What does [bo] have?": "<bo> has a very wide soft red hat."}
    filling = " hat" * next(
        n for n in range(200) if draw(ada, f"<bo> with its hat.{' hat' * (n + 1)}").status_code == 400
    )
    answer = draw(ada, f"<bo> with its hat.{filling}", replay="rules")
    trace = answer.json()["replay"]
    assert answer.status_code == 200 and trace["prompt"] == trace["request"] and "room for" in trace["refused"][0]


def test_a_stream_tells_the_trace_at_its_end(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    fake.knows = HAT
    told = draw(ada, "A photo of <bo> with its hat.", replay="rules", stream=True, partial_images=1).text
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    assert ["replay" in event for event in events] == [False, True]
    assert events[-1]["replay"]["prompt"] == "A photo of <bo> with a red hat."


def test_names_are_what_they_were(ada: Person, bob: Person, give, fake: FakeClient) -> None:
    """Things of a granted concept are asked of it; those of a name that means nothing to the caller stay text."""
    concept = give(bob, "miru")
    give(ada, "bo")
    assert bob.put(f"/v1/concepts/{concept.name}/grants/ada").status_code == 200
    fake.knows = {
        "What does [bob/miru] have?": "<bob/miru> has a red hat.",
        "What does [bo] have?": "<bo> has a red hat.",
    }
    text = "<bo> beside <bob/secret>'s hat and <bob/miru>'s hat."
    trace = draw(ada, text, replay="rules").json()["replay"]
    assert trace["prompt"] == "<bo> beside <bob/secret>'s hat and a red hat."
    assert [each["concept"] for each in trace["inquiries"]] == ["bob/miru"]


def test_an_answer_cannot_bring_another_concept_in(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    give(ada, "miru", 1)
    fake.knows = {"What does [bo] have?": "<bo> has a <miru> hat."}
    trace = draw(ada, "A photo of <bo> with its hat.", replay="rules").json()["replay"]
    assert trace["prompt"] == trace["request"] and [one.name for one in fake.drawn[-1].concepts] == ["bo"]


def test_a_question_has_in_it_what_the_concept_said(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    fake.knows = HAT
    answer = ada.ask("Is <bo> in the photo with its hat?", replay="rules").json()
    assert answer["choices"][0]["message"]["content"].endswith("Is [bo] in the photo with a red hat?")
    assert answer["replay"]["prompt"] == "Is <bo> in the photo with a red hat?" and len(fake.asked) == 2
    told = ada.ask("Is <bo> in the photo with its hat?", replay="rules", stream=True).text
    chunks = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    assert chunks[0]["replay"] == answer["replay"] and not any("replay" in chunk for chunk in chunks[1:])


def test_a_question_that_wants_to_know_it_is_left_alone(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    fake.knows = HAT
    answer = ada.ask("What colour is <bo>'s hat?", replay="rules").json()
    assert len(fake.asked) == 1 and "replay" not in answer
    assert plain(fake.asked[0].turns[-1].question, ("bo",)).endswith("What colour is [bo]'s hat?")
    assert asks_itself("Look here. Where is its hat?") and not asks_itself("Is it where it lives?")


def test_no_room_for_the_questions_is_no_room_for_the_request(ada: Person, give, fake: FakeClient) -> None:
    give(ada, "bo")
    fake.refuses = Busy("the server is busy", 3.0)
    answer = draw(ada, "A photo of <bo> with its hat.", replay="rules")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3") and not fake.drawn


def test_only_what_exists_may_be_chosen_and_the_document_says_what(ada: Person, house: House, http) -> None:
    wrong = draw(ada, "A hat.", replay="exemplars")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "replay")
    schemas = http.get("/openapi.json").json()["components"]["schemas"]
    for body in ("ChatBody", "ImageBody"):
        assert "rules" in json.dumps(schemas[body]["properties"]["replay"])
    for answer in ("ChatCompletion", "Images"):
        assert "Trace" in json.dumps(schemas[answer]["properties"]["replay"])
