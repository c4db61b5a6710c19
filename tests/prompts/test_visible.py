"""What is shown of a prompt: special tokens apart from text, and nothing that acts."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.prompts.visible import (
    CLOSE,
    OPEN,
    alike,
    as_name,
    harmless,
    marked,
    special,
    token_texts,
)


@given(st.text())
def test_no_character_of_a_text_acts(text: str) -> None:
    for newlines in (False, True):
        shown = harmless(text, newlines=newlines)
        assert OPEN not in shown
        assert CLOSE not in shown
        acting = {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert acting <= ({"\n"} if newlines else set())
    assert harmless(text, newlines=True).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("⟦<bos>⟧", "\\u27e6<bos>\\u27e7"),
        ("żółć 🤕 \\n {x}", "żółć 🤕 \\n {x}"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_controls_and_brackets_are_escapes(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize("value", ["pl", "zh-Hant", "nurse_2", "łódzki"])
def test_a_name_is_shown(value: str) -> None:
    assert as_name(value) == value


@pytest.mark.parametrize("value", ["", "It hurts.", "\x1b[1m", "x" * 33, "pl\n"])
def test_of_what_is_no_name_no_character_is_shown(value: str) -> None:
    assert as_name(value) == "another value"


def test_a_special_token_is_told_apart_from_its_characters(models: dict[str, Any]) -> None:
    tokenizer = models["chatml"]
    [start] = tokenizer("<|im_start|>")["input_ids"]
    assert marked([start, "<|im_start|>⟦x⟧\n"], tokenizer) == (
        "⟦<|im_start|>⟧<|im_start|>\\u27e6x\\u27e7\n"
    )


def test_an_id_of_no_token_is_shown_as_such(models: dict[str, Any]) -> None:
    for token in (10**9, -1):
        assert special(token, models["chatml"]) == f"⟦no token: {token}⟧"
        assert token_texts([token], frozenset(), models["chatml"]) == [f"⟦no token: {token}⟧"]


@pytest.mark.parametrize("model", ["plain", "trimmed", "chatml"])
def test_tokens_together_are_the_text(models: dict[str, Any], model: str) -> None:
    tokenizer = models[model]
    text = "The nurse, “miła” and\n kind: 12"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    shown = token_texts(ids, frozenset(), tokenizer)
    assert len(shown) == len(ids)
    assert "".join(shown) == text.replace("\n", "\\n")


def test_where_two_sequences_part() -> None:
    assert [alike(*each) for each in (("ab", "ac"), ("ab", "abc"), ("", "a"), ([1], [1]))] == [
        *(1, 2, 0, 1),
    ]
