"""A bits answer: 21 digits, one token each."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medsent.answers.written import STRUCTURE, UNKNOWN

from medsent.answers import bits
from medsent.errors import ModelError
from medsent.labels import LABELS

ROWS = st.lists(st.booleans(), min_size=len(LABELS), max_size=len(LABELS))
LOGPROBS = st.floats(-50, 0)


@given(ROWS)
def test_digits_are_parsed(row: list[bool]) -> None:
    assert bits.parse("".join("01"[bit] for bit in row) + "\n") == row


@pytest.mark.parametrize(
    "text", ["", "1" * 20, "1" * 22, "1" * 20 + "2", "1" * 10 + " " + "1" * 11]
)
def test_anything_else_is_no_answer(text: str) -> None:
    assert bits.parse(text) is None


@given(st.lists(st.tuples(LOGPROBS, LOGPROBS), min_size=1, max_size=21))
def test_probabilities_are_renormalised(steps: list[tuple[float, float]]) -> None:
    expected = [math.exp(one) / (math.exp(zero) + math.exp(one)) for zero, one in steps]
    assert bits.probabilities(steps) == pytest.approx(expected, abs=1e-12)


def test_probabilities_at_the_edges() -> None:
    never = -math.inf
    got = bits.probabilities([(never, -1.0), (-1.0, never), (-5000.0, -1.0), (-1.0, -5000.0)])
    assert got == [1.0, 0.0, 1.0, 0.0]
    assert math.isnan(bits.probabilities([(never, never)])[0])


def test_written_digits(tokenizer: Any) -> None:
    gold = np.array([float(i % 2) for i in range(len(LABELS))])
    gold[5] = np.nan
    written = bits.write(gold, tokenizer)
    text = tokenizer.decode(written.ids[:-1])
    assert bits.parse(text) == [i % 2 == 1 and i != 5 for i in range(len(LABELS))]
    assert written.of_label == [UNKNOWN if i == 5 else i for i in range(21)] + [STRUCTURE]
    assert written.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(list(bits.digit_token_ids(tokenizer))) == "01"


def test_a_tokenizer_that_joins_digits_is_refused() -> None:
    def joined(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [7] * (len(text) // 2)}

    with pytest.raises(ModelError, match="digits"):
        bits.digit_token_ids(joined)
