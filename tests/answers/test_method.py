"""Reading completions: an unusable answer has a status and no labels, never zeros."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.answers.file import AnswerFile, shipped_answer
from medsent.answers.method import method_named
from medsent.answers.methods import bits
from medsent.answers.methods.bits import Bits
from medsent.answers.methods.json import Json
from medsent.answers.methods.onepass import OnePass
from medsent.config.job import SamplingSettings
from medsent.config.labels import LABELS, Label, Labels, load_labels
from medsent.engine.protocol import Completion
from medsent.predictions import AnswerStatus as Status
from tests import asked

HALF = [0.5] * len(LABELS)
ROWS = st.lists(st.booleans(), min_size=len(LABELS), max_size=len(LABELS))
PAIR = Labels((Label(name="fear"), Label(name="joy")))


def completion(
    text: str = "",
    logprobs: list[dict[int, float]] | None = None,
    truncated: bool = False,
    pieces: tuple[str, ...] = (),
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
        pieces=pieces,
    )


@pytest.fixture(scope="module")
def onepass(tokenizer: Any) -> OnePass:
    return asked.onepass(tokenizer)


@pytest.fixture(scope="module")
def digits(tokenizer: Any) -> Bits:
    return asked.bits(tokenizer)


@pytest.fixture(scope="module")
def written(tokenizer: Any) -> Json:
    return asked.json_object(tokenizer)


def first_token(onepass: OnePass, logits: list[float], none: float = -3.0) -> Completion:
    *labels, reference = onepass.ask.token_ids
    step = {token: none + logit for token, logit in zip(labels, logits, strict=True)}
    return completion(logprobs=[{**step, reference: none}])


def digits_of(digits: Bits, row: list[bool], sure: float = 1.0) -> Completion:
    """Return the digits of a row, each more probable than the other by `sure`."""
    (one, zero), *_ = digits.ask.choices
    steps = [{(one if bit else zero): -0.1, (zero if bit else one): -0.1 - sure} for bit in row]
    text = "".join("01"[bit] for bit in row)
    return completion(text, steps, pieces=tuple(text))


def object_of(json: Json, row: list[bool], sure: float = 1.0) -> Completion:
    """Return the object of a row, in a piece for each value and each text between."""
    assert json.ask.form is not None
    steps: list[dict[int, float]] = []
    for (yes, no), bit in zip(json.ask.choices, row, strict=True):
        steps += [{}, {(yes if bit else no): -0.1, (no if bit else yes): -0.1 - sure}]
    pieces = json.ask.form.pieces(row)  # type: ignore[union-attr]
    return completion("".join(pieces), [*steps, {}], pieces=tuple(pieces))


def test_names_give_methods(tokenizer: Any) -> None:
    for name, kind in (("onepass", OnePass), ("bits", Bits), ("json", Json)):
        method = method_named(name).bind(tokenizer, load_labels(None), shipped_answer())  # type: ignore[arg-type]
        assert isinstance(method, kind)


def test_what_each_asks_for(onepass: OnePass, digits: Bits, written: Json, tokenizer: Any) -> None:
    assert onepass.ask.max_tokens == 1
    assert len(set(onepass.ask.token_ids)) == len(LABELS) + 1
    words = [tokenizer.decode([token]) for token in onepass.ask.token_ids]
    assert all(f" {label}".startswith(word) for label, word in zip(LABELS, words, strict=False))
    assert words[-1] == " none"
    assert (onepass.ask.form, onepass.ask.choices, onepass.ask.text) == (None, (), False)
    assert digits.ask.form == bits.sheet(LABELS)
    assert [tokenizer.decode([token]) for token in digits.ask.token_ids] == ["0", "1"]
    assert digits.ask.max_tokens > len(LABELS)
    assert written.ask.form == AnswerFile().form_of(LABELS)
    for ask in (digits.ask, written.ask):
        assert ask.guided
        assert ask.text
        assert len(ask.choices) == len(LABELS)
        assert {token for pair in ask.choices for token in pair} == set(ask.token_ids)
        assert (ask.temperature, ask.top_p, ask.seed) == (0.0, 1.0, None)


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("form", ["object", "list"])
def test_an_answer_has_room_for_twice_the_longest(tokenizer: Any, form: Any, guided: bool) -> None:
    answer = AnswerFile(form=form, guided=guided, style="indented", names={"calm": "spokój"})
    method = Json(tokenizer, load_labels(None), answer)
    whole = [answer.form_of(LABELS).write([value] * len(LABELS)) for value in (True, False)]
    longest = max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in whole)
    assert 2 * longest <= method.room < 2 * longest + 128
    if guided:  # a model may spell it, and the grammar ends it
        assert method.ask.max_tokens > max(len(text.encode()) for text in whole)
    else:
        assert method.ask.max_tokens == method.room


def test_how_an_answer_is_generated_is_as_its_file_says(tokenizer: Any) -> None:
    sampling = SamplingSettings(temperature=0.7, top_p=0.9, max_tokens=50, seed=3)
    ask = Json(tokenizer, PAIR, AnswerFile(guided=False, sampling=sampling)).ask
    assert (ask.temperature, ask.top_p, ask.max_tokens, ask.seed) == (0.7, 0.9, 50, 3)
    assert not ask.guided
    assert (ask.choices, ask.token_ids) == ((), ())
    warm = AnswerFile(sampling=SamplingSettings(temperature=1.0))
    assert Json(tokenizer, PAIR, warm).ask.seed == 0
    cold = AnswerFile(sampling=SamplingSettings(seed=3))
    assert Json(tokenizer, PAIR, cold).ask.seed is None


@given(st.lists(st.floats(-40, 40), min_size=21, max_size=21), st.floats(-50, 0))
def test_onepass_is_the_sigmoid_of_a_difference(
    onepass: OnePass, logits: list[float], none: float
) -> None:
    answer = onepass.read(first_token(onepass, logits, none), HALF)
    assert answer.status == Status.OK
    expected = [1 / (1 + math.exp(-logit)) for logit in logits]
    assert answer.probabilities == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert answer.probabilities is not None
    assert answer.labels == [p >= 0.5 for p in answer.probabilities]
    assert answer.repaired is None


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
        assert (answer.status, answer.labels, answer.probabilities) == (
            Status.INVALID_ANSWER,
            None,
            None,
        )


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


def test_each_label_has_its_own_threshold(onepass: OnePass, written: Json) -> None:
    cuts = [0.4 if i % 2 else 0.6 for i in range(21)]
    for method, made in (
        (onepass, first_token(onepass, [0.0] * 21)),
        (written, object_of(written, [False] * 21, sure=0.0)),
    ):
        answer = method.read(made, cuts)
        assert answer.labels == [i % 2 == 1 for i in range(21)]


@given(ROWS, st.floats(0.01, 5))
def test_bits(digits: Bits, row: list[bool], sure: float) -> None:
    made = digits_of(digits, row, sure)
    answer = digits.read(made, HALF)
    assert (answer.status, answer.labels, answer.text) == (Status.OK, row, made.text)
    chance = 1 / (1 + math.exp(-sure))
    assert answer.probabilities == pytest.approx([chance if b else 1 - chance for b in row])


def test_bits_that_are_no_answer(digits: Bits) -> None:
    good = digits_of(digits, [True] * 21)
    for text, steps, truncated, status in (
        ("1" * 20, good.logprobs, True, Status.TRUNCATED),
        ("1" * 20, good.logprobs, False, Status.INVALID_ANSWER),
        ("1" * 22, good.logprobs, False, Status.INVALID_ANSWER),
        ("1" * 20 + "2", good.logprobs, False, Status.INVALID_ANSWER),
        ("1" * 10 + " " + "1" * 10, good.logprobs, False, Status.INVALID_ANSWER),
        ("1" * 21, good.logprobs[:20], False, Status.INVALID_ANSWER),
        ("1" * 21, [*good.logprobs[:20], {}], False, Status.INVALID_ANSWER),
        ("", [], False, Status.INVALID_ANSWER),
    ):
        pieces = tuple(text)[: len(steps)]
        answer = digits.read(completion(text, steps, truncated, pieces), HALF)
        assert (answer.status, answer.labels, answer.probabilities) == (status, None, None)
        assert answer.text == text


@given(ROWS, st.floats(0.01, 5))
def test_a_guided_object(written: Json, row: list[bool], sure: float) -> None:
    made = object_of(written, row, sure)
    answer = written.read(made, HALF)
    assert (answer.status, answer.labels, answer.text) == (Status.OK, row, made.text)
    chance = 1 / (1 + math.exp(-sure))
    assert answer.probabilities == pytest.approx([chance if b else 1 - chance for b in row])
    assert answer.repaired is None


def test_a_guided_object_that_is_no_answer(written: Json) -> None:
    whole = object_of(written, [True] * 21)
    for text, truncated, status in (
        ('{"positive": tr', True, Status.TRUNCATED),
        ('{"positive": true}', False, Status.INVALID_ANSWER),
        (f"Answer: {whole.text}", False, Status.INVALID_ANSWER),
        (whole.text[:-1], True, Status.TRUNCATED),
        ("", False, Status.INVALID_ANSWER),
        (
            whole.text,
            False,
            Status.INVALID_ANSWER,
        ),  # no piece tells what else
    ):
        answer = written.read(completion(text, truncated=truncated), HALF)
        assert (answer.status, answer.labels, answer.text) == (status, None, text)
        assert (answer.probabilities, answer.repaired) == (None, None)


def test_a_guided_list_has_labels_and_no_probabilities(tokenizer: Any) -> None:
    method = Json(tokenizer, PAIR, AnswerFile(form="list", under="labels"))
    assert (method.ask.choices, method.ask.token_ids) == ((), ())
    answer = method.read(completion('{"labels":["joy"]}'), HALF[:2])
    assert (answer.status, answer.labels, answer.probabilities) == (
        Status.OK,
        [False, True],
        None,
    )
    assert (
        method.read(completion('{"labels":["jo', truncated=True), HALF[:2]).status
        == Status.TRUNCATED
    )


@pytest.mark.parametrize(
    ("text", "labels", "repaired"),
    [
        ('{"fear": true, "joy": false}', [True, False], False),
        ('Surely:\n```json\n{"fear": true, "joy": false}\n```', [True, False], False),
        ("{'fear': True, 'joy': False}", [True, False], True),
    ],
)
def test_a_free_answer_says_whether_it_was_mended(
    tokenizer: Any, text: str, labels: list[bool], repaired: bool
) -> None:
    method = Json(tokenizer, PAIR, AnswerFile(guided=False))
    answer = method.read(completion(text), HALF[:2])
    assert (answer.status, answer.labels, answer.repaired) == (Status.OK, labels, repaired)
    assert (answer.probabilities, answer.text) == (None, text)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Words alone.", Status.NO_JSON),
        ('{"fear": true}', Status.LABEL_MISSING),
        ('{"fear": true, "calm": true}', Status.LABEL_UNKNOWN),
        ('{"fear": true, "joy": 1}', Status.VALUE_UNKNOWN),
        ('{"fear": true, "joy": ', Status.VALUE_UNKNOWN),
    ],
)
def test_a_free_answer_that_cannot_be_used_says_why(tokenizer: Any, text: str, status: str) -> None:
    method = Json(tokenizer, PAIR, AnswerFile(guided=False))
    answer = method.read(completion(text), HALF[:2])
    assert (answer.status, answer.labels, answer.text, answer.repaired) == (
        status,
        None,
        text,
        False,
    )
    cut_off = method.read(completion(text, truncated=True), HALF[:2])
    assert (cut_off.status, cut_off.labels) == (Status.TRUNCATED, None)


@pytest.mark.parametrize("omitted", ["unusable", "no"])
@pytest.mark.parametrize(
    "text",
    [
        '{"fear": true, "joy": false',
        '{"fear": true, "joy": tr',
        '{"fear": true, ',
        "{'fear': True, 'joy': False} and so",
    ],
)
def test_what_was_cut_off_is_not_mended(tokenizer: Any, text: str, omitted: Any) -> None:
    method = Json(tokenizer, PAIR, AnswerFile(guided=False, omitted=omitted))
    answer = method.read(completion(text, truncated=True), HALF[:2])
    assert (answer.status, answer.labels, answer.repaired) == (Status.TRUNCATED, None, False)


def test_an_answer_that_was_whole_before_it_was_cut_off_is_read(tokenizer: Any) -> None:
    method = Json(tokenizer, PAIR, AnswerFile(guided=False))
    text = '{"fear": true, "joy": false}\nThat is since the'
    answer = method.read(completion(text, truncated=True), HALF[:2])
    assert (answer.status, answer.labels, answer.repaired) == (
        Status.OK,
        [True, False],
        False,
    )
