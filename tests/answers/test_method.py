"""Reading completions: an unusable answer has a status and no labels, never zeros."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.answers import bits, json
from medsent.answers.method import INVALID, TRUNCATED, Bits, Json, OnePass, method_for
from medsent.engine.protocol import Completion
from medsent.labels import LABELS
from medsent.predictions import OK

HALF = [0.5] * len(LABELS)
ROWS = st.lists(st.booleans(), min_size=len(LABELS), max_size=len(LABELS))


def completion(
    text: str = "", logprobs: list[dict[int, float]] | None = None, truncated: bool = False
) -> Completion:
    return Completion(
        text=text,
        logprobs=logprobs or [],
        truncated=truncated,
        prompt_tokens=1,
        cached_tokens=0,
        output_tokens=1,
        latency_s=0.0,
        finished_at=datetime.now(UTC),
    )


@pytest.fixture(scope="module")
def onepass(tokenizer: Any) -> OnePass:
    return OnePass(tokenizer)


@pytest.fixture(scope="module")
def digits(tokenizer: Any) -> Bits:
    return Bits(tokenizer)


@pytest.fixture(scope="module")
def written(tokenizer: Any) -> Json:
    return Json(tokenizer)


def first_token(onepass: OnePass, logits: list[float], none: float = -3.0) -> Completion:
    *labels, reference = onepass.ask.token_ids
    step = {token: none + logit for token, logit in zip(labels, logits, strict=True)}
    return completion(logprobs=[{**step, reference: none}])


def test_names_give_methods(tokenizer: Any) -> None:
    for name, kind in (("onepass", OnePass), ("bits", Bits), ("json", Json)):
        assert isinstance(method_for(name, tokenizer), kind)  # type: ignore[arg-type]


def test_what_each_asks_for(onepass: OnePass, digits: Bits, written: Json, tokenizer: Any) -> None:
    assert onepass.ask.max_tokens == 1
    assert len(set(onepass.ask.token_ids)) == len(LABELS) + 1
    words = [tokenizer.decode([token]) for token in onepass.ask.token_ids]
    assert all(f" {label}".startswith(word) for label, word in zip(LABELS, words, strict=False))
    assert words[-1] == " none"
    assert digits.ask.regex == bits.REGEX
    assert [tokenizer.decode([token]) for token in digits.ask.token_ids] == ["0", "1"]
    assert digits.ask.max_tokens > len(LABELS)
    assert written.ask.json_schema == json.SCHEMA
    assert written.ask.text
    assert not onepass.ask.text


@given(st.lists(st.floats(-40, 40), min_size=21, max_size=21), st.floats(-50, 0))
def test_onepass_is_the_sigmoid_of_a_difference(
    onepass: OnePass, logits: list[float], none: float
) -> None:
    answer = onepass.read(first_token(onepass, logits, none), HALF)
    assert answer.status == OK
    expected = [1 / (1 + math.exp(-logit)) for logit in logits]
    assert answer.probabilities == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert answer.probabilities is not None
    assert answer.labels == [p >= 0.5 for p in answer.probabilities]


def test_onepass_at_the_edges(onepass: OnePass) -> None:
    answer = onepass.read(first_token(onepass, [-5000.0, 5000.0] + [0.0] * 19), HALF)
    assert answer.probabilities is not None
    assert answer.probabilities[:3] == [0.0, 1.0, 0.5]
    assert answer.labels is not None
    assert answer.labels[:3] == [False, True, True]


def test_onepass_without_its_numbers_is_invalid(onepass: OnePass) -> None:
    whole = first_token(onepass, [1.0] * 21).logprobs[0]
    lacking = dict(list(whole.items())[1:])
    for steps in (
        [],
        [{}],
        [lacking],
        [{**whole, onepass.ask.token_ids[0]: -math.inf}],
        [{**whole, onepass.ask.token_ids[-1]: math.nan}],
    ):
        answer = onepass.read(completion(logprobs=steps), HALF)
        assert (answer.status, answer.labels, answer.probabilities) == (INVALID, None, None)


def test_labels_are_cut_on_the_stored_float32(onepass: OnePass) -> None:
    """So that a report that makes labels again from stored probabilities agrees to the bit."""
    logit = 0.1
    exact = 1 / (1 + math.exp(-logit))
    stored = float(np.float32(exact))
    assert stored != exact
    for cut, expected in ((stored, True), (np.nextafter(stored, 1), False)):
        answer = onepass.read(first_token(onepass, [logit] * 21, none=0.0), [float(cut)] * 21)
        assert answer.probabilities == [stored] * 21
        assert answer.labels == [expected] * 21


def test_each_label_has_its_own_threshold(onepass: OnePass) -> None:
    cuts = [0.4 if i % 2 else 0.6 for i in range(21)]
    answer = onepass.read(first_token(onepass, [0.0] * 21), cuts)
    assert answer.labels == [i % 2 == 1 for i in range(21)]


@given(ROWS, st.floats(0.01, 5))
def test_bits(digits: Bits, row: list[bool], sure: float) -> None:
    zero, one = digits.ask.token_ids
    steps = [{(one if bit else zero): -0.1, (zero if bit else one): -0.1 - sure} for bit in row]
    text = "".join("01"[bit] for bit in row)
    answer = digits.read(completion(text, [*steps, {zero: -1.0, one: -2.0}]), HALF)
    assert (answer.status, answer.labels, answer.text) == (OK, row, text)
    chance = 1 / (1 + math.exp(-sure))
    assert answer.probabilities == pytest.approx([chance if b else 1 - chance for b in row])


def test_bits_that_are_no_answer(digits: Bits) -> None:
    zero, one = digits.ask.token_ids
    good = [{zero: -1.0, one: -0.5}] * 21
    for text, steps, truncated, status in (
        ("1" * 20, good, True, TRUNCATED),
        ("1" * 20, good, False, INVALID),
        ("1" * 21, good[:20], False, INVALID),
        ("1" * 21, [*good[:20], {}], False, INVALID),
        ("", [], False, INVALID),
    ):
        answer = digits.read(completion(text, steps, truncated), HALF)
        assert (answer.status, answer.labels, answer.probabilities) == (status, None, None)
        assert answer.text == text


@given(ROWS)
def test_json(written: Json, row: list[bool]) -> None:
    values = ", ".join(
        f'"{label}": {str(bit).lower()}' for label, bit in zip(LABELS, row, strict=True)
    )
    answer = written.read(completion(f"{{{values}}}"), HALF)
    assert (answer.status, answer.labels) == (OK, row)
    assert answer.probabilities is None


def test_json_that_is_no_answer(written: Json) -> None:
    for text, truncated, status in (
        ('{"positive": tr', True, TRUNCATED),
        ('{"positive": true}', False, INVALID),
        ("", False, INVALID),
    ):
        answer = written.read(completion(text, truncated=truncated), HALF)
        assert (answer.status, answer.labels, answer.text) == (status, None, text)
