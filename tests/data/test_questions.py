"""Promises of the prompts made from dataset texts and of the questions made without any."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import Generator

from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Rows
from unictokens.data.catalog import Catalog
from unictokens.data.questions import build_stage_items, fact_exchanges, write_stage_files
from unictokens.data.records import ConceptRecord, Dialogue, Exchange
from unictokens.data.samples import (
    dialogue_turns,
    drawing_prompt,
    generation_prompt,
    perception_prompt,
    question_prompt,
)
from unictokens.errors import DataError

LAYOUT = TokenLayout(shared=2, generation=1, understanding=1)
NAME, SOFT, DRAW = Rows((0,)), Rows((1, 2)), Rows((1, 2, 3))


@pytest.fixture
def record(album: Path) -> ConceptRecord:
    return Catalog.open(album).concept("bo")


def first_question(record: ConceptRecord, text: str) -> tuple[str | Rows, ...]:
    return dialogue_turns(record, LAYOUT, ("shared",), Dialogue((Exchange(text, "A"),), None))[0].question


def test_the_introduction_precedes_the_first_question_as_published(record: ConceptRecord) -> None:
    assert first_question(record, "<image>\nIs <bo> here?") == (NAME, " is ", SOFT, ".\nIs ", NAME, " here?")
    assert first_question(record, "Who?\n<image>") == (NAME, " is ", SOFT, ".Who?")
    assert first_question(record, "Who?") == (NAME, " is ", SOFT, ".Who?")


def test_a_conversation_is_introduced_once(record: ConceptRecord) -> None:
    dialogue = Dialogue((Exchange("<image>\nWho is it?", "It is <bo>."), Exchange("Where is <bo>?", "Home.")), None)
    turns = dialogue_turns(record, LAYOUT, ("shared", "understanding"), dialogue)
    assert turns[0].question == (NAME, " is ", Rows((1, 2, 4)), ".\nWho is it?")
    assert turns[0].answer == ("It is ", NAME, ".")
    assert (turns[1].question, turns[1].answer) == (("Where is ", NAME, "?"), ("Home.",))


def test_without_soft_tokens_there_is_no_introduction(record: ConceptRecord) -> None:
    bare = TokenLayout(shared=0, generation=0, understanding=0)
    dialogue = Dialogue((Exchange("<image>\nIs <bo> here?", "A"),), None)
    assert dialogue_turns(record, bare, ("shared",), dialogue)[0].question == ("Is ", NAME, " here?")
    assert question_prompt(record, bare, ("shared",), "Is it?") == ("Is it?",)


def test_only_the_concepts_own_name_becomes_a_row(record: ConceptRecord) -> None:
    assert (
        first_question(record, "<token_1> <sks> <miru> <|endoftext|>?")[-1] == ".<token_1> <sks> <miru> <|endoftext|>?"
    )


def test_drawing_prompts_follow_the_paper(record: ConceptRecord, album: Path) -> None:
    groups = ("shared", "generation")
    assert generation_prompt(LAYOUT, groups) == ("A photo of ", DRAW, " ", NAME, ".")
    assert perception_prompt(record, LAYOUT, groups)[-1] == " in the middle of the photo."
    assert perception_prompt(Catalog.open(album).concept("miru"), LAYOUT, groups)[-1] == "'s face in detail."
    for text in ("a <sks> in the snow", "a <bo> in the snow"):
        assert drawing_prompt(record, LAYOUT, groups, text) == ("a ", DRAW, " ", NAME, " in the snow")


def test_questions_at_inference_follow_a_line_break(record: ConceptRecord) -> None:
    asked = question_prompt(record, LAYOUT, ("shared", "understanding"), "<image>\nIs <bo> here?")
    assert asked == (NAME, " is ", Rows((1, 2, 4)), ".\nIs ", NAME, " here?")


def test_photos_and_a_profile_are_enough_to_train(album: Path) -> None:
    catalog = Catalog.open(album)
    files = write_stage_files(catalog, "bo", seed=1)
    assert [file.parent.name for file in files] == ["showo_training_data_stage_1", "showo_training_data_stage_3"]
    before = [file.read_bytes() for file in files]
    record = Catalog.open(album).concept("bo")
    for stage in ("stage_1", "stage_3"):
        items = record.understanding(stage)
        by_answer = {
            answer: [i for i in items if i.exchanges[0].answer == answer]
            for answer in ("Yes, <bo> is in the photo.", "No, <bo> is not in the photo.")
        }
        yes, no = by_answer.values()
        assert {item.image for item in yes} == set(record.photos)
        assert no and all(item.image is not None and item.image.parent.name == "miru" for item in no)
        assert {item.exchanges[0].answer for item in items if item.image == record.black} == {
            record.info,
            *record.facts,
        }
    assert write_stage_files(Catalog.open(album), "bo") == []
    for file in files:
        file.unlink()
    write_stage_files(Catalog.open(album), "bo", seed=1)
    assert [file.read_bytes() for file in files] == before


def test_look_alikes_and_random_pictures_are_answered_no(dataset: Path) -> None:
    record = Catalog.open(dataset).concept("bo")
    answers = {
        stage: {
            item.image: item.exchanges[0].answer
            for item in build_stage_items(record, stage, Generator().manual_seed(0))
        }
        for stage in ("stage_1", "stage_3")
    }
    for picture in record.random_negatives:
        assert answers["stage_1"][picture] == "No, <bo> is not in the photo."
    for picture in record.hard_negatives:
        assert answers["stage_3"][picture] == "No, <bo> is not in the photo."


def test_look_alikes_are_left_to_stage_3(dataset: Path) -> None:
    record = Catalog.open(dataset).concept("bo")
    items = build_stage_items(record, "stage_1", Generator().manual_seed(0))
    assert not {item.image for item in items} & set(record.hard_negatives)


@pytest.mark.parametrize("stage", ["stage_1", "stage_3"])
def test_yes_is_as_common_as_no(dataset: Path, stage: str) -> None:
    record = Catalog.open(dataset).concept("bo")
    for photos in (record.photos, record.photos[:3]):
        few = replace(record, photos=photos, positives=())
        said = [item.exchanges[0].answer for item in build_stage_items(few, stage, Generator().manual_seed(0))]
        yes, no = (
            sum(answer.startswith(word) and "in the photo" in answer for answer in said) for word in ("Yes,", "No,")
        )
        assert no <= yes < no + len(photos)


def test_facts_are_asked_for_by_their_kind(record: ConceptRecord) -> None:
    assert [exchange.question for exchange in fact_exchanges(record)] == [
        "Who is <bo>?",
        "What does <bo> have?",
        "Where does <bo> live?",
    ]


def test_wordings_without_the_concept_are_refused(dataset: Path) -> None:
    with pytest.raises(DataError, match="must each contain"):
        build_stage_items(Catalog.open(dataset).concept("bo"), "stage_1", Generator(), ["Is it here?"])
