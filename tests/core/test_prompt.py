"""Learned rows get into a prompt by position only."""

from unictokens.concepts.layout import TokenLayout
from unictokens.concepts.prompt import Rows, fill, identifier, introduction, join, subject

LAYOUT = TokenLayout(shared=2, generation=1, understanding=3)


def test_groups_follow_one_another() -> None:
    assert LAYOUT.rows("identifier", "shared") == (0, 1, 2)
    assert LAYOUT.rows("shared", "understanding") == (1, 2, 4, 5, 6)
    assert (LAYOUT.through("shared"), LAYOUT.through("generation"), LAYOUT.total) == (3, 4, 7)


def test_drawing_prompt_is_soft_tokens_space_name() -> None:
    prompt = fill("A photo of <bo>.", {"bo": subject(LAYOUT)})
    assert prompt == ("A photo of ", Rows((1, 2, 3)), " ", Rows((0,)), ".")


def test_introduction_is_name_is_soft_tokens() -> None:
    assert introduction(LAYOUT, ("shared", "understanding")) == (Rows((0,)), " is ", Rows((1, 2, 4, 5, 6)), ".")


def test_no_soft_tokens_leave_the_bare_name() -> None:
    bare = TokenLayout(shared=0, generation=0, understanding=0)
    assert subject(bare) == identifier(bare) == (Rows((0,)),)
    assert introduction(bare, ("shared",)) == ()


def test_names_that_are_not_asked_for_stay_text() -> None:
    typed = "<mia> met <bo> and <token_3> <|endoftext|>"
    assert fill(typed, {"bo": identifier(LAYOUT)}) == ("<mia> met ", Rows((0,)), " and <token_3> <|endoftext|>")
    assert fill(typed, {}) == (typed,)


def test_neighbouring_strings_are_joined() -> None:
    assert join("a", ("b", Rows((0,))), "", "c", "d") == ("ab", Rows((0,)), "cd")
