"""The forms of an answer: their pattern holds all answers that can be written, and no other."""

import re
from functools import lru_cache
from typing import Any

import pytest
import xgrammar
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.answers.file import AnswerFile
from medsent.answers.methods.bits import sheet
from medsent.engine.answer_form import Form, Listing, Sheet

HARD = (
    "radość",
    "ból (silny)",
    'a "quoted" one',
    "back\\slash",
    "x.y*z+?",
    "[q]{1,2}|^$",
    "dash-/~!@#%&=<>'`;",
    "two\nlines\tand a tab",
    "emoji 😀\u2028",
)
"""Names with what means something in a pattern, in JSON or to neither."""
SIXTY = tuple(f"etykieta nr {number}" for number in range(60))
STYLES = ("compact", "spaced", "indented")


@lru_cache
def compiler() -> Any:
    """Return xgrammar's compiler for a vocabulary of single bytes."""
    vocabulary = [bytes([byte]) for byte in range(256)]
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(vocabulary, xgrammar.VocabType.RAW, stop_token_ids=[0])
    )


@lru_cache(maxsize=64)
def grammar(regex: str) -> Any:
    return compiler().compile_grammar(xgrammar.Grammar.from_regex(regex))


def allows(form: Form, text: str) -> bool:
    """Tell whether the engine's grammar lets a model write exactly this."""
    matcher = xgrammar.GrammarMatcher(grammar(form.regex), terminate_without_stop_token=True)
    return bool(matcher.accept_string(text) and matcher.is_terminated())


def forms(names: tuple[str, ...]) -> list[Form]:
    return [
        AnswerFile(form=form, style=style, ascii=escaped, under=under, **values).form_of(names)
        for form, values in (("object", {"yes": "tak!", "no": "n(i)e"}), ("list", {}))
        for style in STYLES
        for escaped in (False, True)
        for under in (None, "moje {etykiety}:\n")
    ]


@pytest.mark.parametrize("form", forms(HARD))
def test_the_pattern_is_of_the_answers_of_hard_names(form: Form) -> None:
    for number in (0, 1, 0b101010101, 2 ** len(HARD) - 1, 2 ** (len(HARD) - 1)):
        text = form.write([bool(number >> place & 1) for place in range(len(HARD))])
        assert re.fullmatch(form.regex, text)
        assert allows(form, text)
        for other in (text[:-1], text[1:], f"{text} ", f" {text}", text + text):
            assert not re.fullmatch(form.regex, other)
            assert not allows(form, other)


@given(
    names=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True),
    data=st.data(),
    form=st.sampled_from(["object", "list"]),
    style=st.sampled_from(STYLES),
)
@settings(max_examples=60)
def test_the_pattern_is_of_the_answers(
    names: list[str], data: st.DataObject, form: Any, style: Any
) -> None:
    made = AnswerFile(form=form, style=style).form_of(names)
    row = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    text = made.write(row)
    assert re.fullmatch(made.regex, text)
    assert allows(made, text)
    place = data.draw(st.integers(0, len(text) - 1))
    less = text[:place] + text[place + 1 :]
    # Without a letter it is another answer where one name is another with a letter more.
    others = {made.write([bool(n >> i & 1) for i in range(len(names))]) for n in range(2**4)}
    assert (re.fullmatch(made.regex, less) is not None) == allows(made, less)
    if form == "object":
        assert allows(made, less) == (less in others)


@pytest.mark.parametrize("form", ["object", "list"])
def test_sixty_labels(form: Any) -> None:
    made = AnswerFile(form=form).form_of(SIXTY)
    for row in ([True] * 60, [False] * 60, [number % 7 == 0 for number in range(60)]):
        assert re.fullmatch(made.regex, made.write(row))
        assert allows(made, made.write(row))
    assert not allows(made, made.write([True] * 60).replace("nr 7", "nr 77"))


def test_a_list_of_one_label() -> None:
    form = AnswerFile(form="list").form_of(("only",))
    assert (form.write([True]), form.write([False])) == ('["only"]', "[]")
    for text, right in (('["only"]', True), ("[]", True), ('["only","only"]', False)):
        assert allows(form, text) == bool(re.fullmatch(form.regex, text)) == right


def test_a_list_names_its_labels_in_their_order_or_any_other() -> None:
    """The model's own order is its own; a label that it names twice is given once."""
    form = AnswerFile(form="list", style="spaced").form_of(("a", "b", "c"))
    assert form == Listing("[", ", ", "]", "[]", ('"a"', '"b"', '"c"'))
    assert form.write([True, False, True]) == '["a", "c"]'
    assert allows(form, '["c", "a"]')
    assert allows(form, '["a", "a", "a"]')
    assert not allows(form, '["a", "a", "a", "a"]')
    assert not allows(form, '["d"]')


@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_sheet_tells_where_each_value_starts(row: list[bool]) -> None:
    form = Sheet(('{"a": "', '", "b": "', '"; "c": "', '"; "d": "'), '"}', "yes", "no")
    text = form.write(row)
    values = ["yes" if value else "no" for value in row]
    starts = form.starts(row)
    assert [text[at : at + len(value)] for at, value in zip(starts, values, strict=True)] == values
    pieces = form.pieces(row)
    assert "".join(pieces) == text
    assert pieces[1::2] == values
    assert (*pieces[0:-1:2], pieces[-1]) == (*form.before, form.after)


@pytest.mark.parametrize("count", [1, 5, 21, 60])
def test_digits_are_a_sheet_too(count: int) -> None:
    form = sheet([f"l{number}" for number in range(count)])
    row = [number % 3 == 0 for number in range(count)]
    text = form.write(row)
    assert text == "".join("01"[value] for value in row)
    assert allows(form, text)
    assert not allows(form, text + "1")
    assert not allows(form, text[1:])
    assert form.starts(row) == [*range(count)]
