"""Where each label of a sheet is decided, in tokenizers with words, with letters and with bytes."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from medsent.answers.file import AnswerFile
from medsent.answers.methods.bits import sheet
from medsent.answers.values import Choice, Choices
from medsent.engine.answer_form import Sheet
from medsent.engine.protocol import Completion
from medsent.models.source import load_tokenizer

NAMES = ("fear", "ból głowy", "calm", "x", "strach 😀")
ROWS = [
    [False] * 5,
    [True] * 5,
    [True, False, True, False, True],
    [False, True, True, False, False],
]
VALUES: list[tuple[Any, Any]] = [
    (True, False),
    (1, 0),
    ("tak", "nie"),
    ("NO", "YES"),
    ("yes, of course", "yes, but no"),
    ("✅", "❌"),
    (1, 10),
    ("good", "goodish"),
]
FORMS = [
    AnswerFile(yes=yes, no=no, style=style, under=under, ascii=escaped).form_of(NAMES)
    for yes, no in VALUES
    for style in ("compact", "spaced", "indented")
    for under, escaped in ((None, False), ("etykiety", True))
]


@pytest.fixture(scope="module")
def small(small_model: Path) -> Any:
    return load_tokenizer(small_model)


@pytest.fixture(scope="module", params=["words", "letters"])
def either(request: pytest.FixtureRequest, tokenizer: Any, small: Any) -> Any:
    """Gemma's tokenizer, in which most values are a token, and one in which few are."""
    return tokenizer if request.param == "words" else small


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def texts_of(tokenizer: Any, ids: list[int]) -> tuple[str, ...]:
    """Return each token's text; of a letter in several tokens the last one has it."""
    pieces, before = [], ""
    for end in range(1, len(ids) + 1):
        whole = tokenizer.decode(ids[:end])
        pieces.append("" if whole.endswith("\ufffd") else whole[len(before) :])
        before += pieces[-1]
    return tuple(pieces)


def deciding(tokenizer: Any, form: Sheet, row: list[bool], label: int) -> tuple[int, int, int]:
    """Return the step at which the answer differs from the one without the label, or with it.

    And the tokens for yes and no there.
    """
    of_value = [
        ids_of(tokenizer, form.write([*row[:label], value, *row[label + 1 :]]))
        for value in (True, False)
    ]
    step = next(i for i, pair in enumerate(zip(*of_value, strict=False)) if len(set(pair)) > 1)
    return step, of_value[0][step], of_value[1][step]


def completion(
    pieces: tuple[str, ...], logprobs: list[dict[int, float]], ids: tuple[int, ...] = ()
) -> Completion:
    return Completion(
        text="".join(pieces),
        logprobs=logprobs,
        truncated=False,
        prompt_tokens=1,
        cached_tokens=0,
        output_tokens=len(pieces),
        latency_s=0.0,
        finished_at=datetime.now(UTC),
        pieces=pieces,
        token_ids=ids,
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_label_is_decided_where_answers_with_and_without_it_part(
    either: Any, form: Sheet
) -> None:
    choices = Choices(either, form)
    for row in ROWS:
        ids = ids_of(either, form.write(row))
        # Misleading everywhere but at the steps that decide.
        steps = [dict.fromkeys(choices.token_ids, -5.0) | {token: -0.1} for token in ids]
        expected = []
        for label, pair in enumerate(choices.pairs):
            step, yes, no = deciding(either, form, row, label)
            assert pair == (yes, no)
            steps[step] |= {yes: math.log(0.3), no: math.log(0.1 * (label + 1))}
            expected.append(0.3 / (0.3 + 0.1 * (label + 1)))
        pieces = texts_of(either, ids)
        assert "".join(pieces) == form.write(row)
        for known in (tuple(ids), ()):
            found = choices.probabilities(completion(pieces, steps, known), row)
            assert found == pytest.approx(expected)


def test_all_that_is_asked_for_is_asked_once(tokenizer: Any) -> None:
    choices = Choices(tokenizer, AnswerFile().form_of(NAMES))
    assert [tokenizer.decode([token]) for token in choices.token_ids] == ["true", "false"]
    assert choices.pairs == (choices.token_ids,) * len(NAMES)
    digits = Choices(tokenizer, sheet(NAMES))
    assert [tokenizer.decode([token]) for token in digits.token_ids] == ["1", "0"]


def spelled(tokenizer: Any, text: str) -> tuple[tuple[str, ...], list[int]]:
    """Return a text letter by letter, as tokens that a tokenizer would not choose."""
    ids = [ids_of(tokenizer, letter) for letter in text]
    assert all(len(each) == 1 for each in ids)
    return tuple(text), [each[0] for each in ids]


@pytest.mark.parametrize("values", [(True, False), ("tak", "nie"), ("talk", "tact")])
def test_a_value_in_other_tokens_is_read_at_the_letter_that_differs(
    tokenizer: Any, values: tuple[Any, Any]
) -> None:
    """A model that begins with the letter t has chosen true, as much as with the word."""
    form = AnswerFile(yes=values[0], no=values[1]).form_of(("fear", "calm"))
    choices = Choices(tokenizer, form)
    row = [True, False]
    pieces, ids = spelled(tokenizer, form.write(row))
    steps = [{token: math.log(0.5)} for token in ids]
    alike = {(True, False): 0, ("tak", "nie"): 1, ("talk", "tact"): 3}[values]
    for start, (yes, no) in zip(form.starts(row), choices.pairs, strict=True):
        steps[start + alike] |= {yes: math.log(0.2), no: math.log(0.1)}
    found = choices.probabilities(completion(pieces, steps, tuple(ids)), row)
    assert found == pytest.approx([0.7 / 0.8, 0.2 / 0.8])


def test_of_tokens_that_no_one_tells_the_words_count(tokenizer: Any) -> None:
    form = AnswerFile().form_of(("fear", "calm"))
    choices = Choices(tokenizer, form)
    pieces, _ = spelled(tokenizer, form.write([True, False]))
    steps: list[dict[int, float]] = [{} for _ in pieces]
    for start, (yes, no) in zip(form.starts([True, False]), choices.pairs, strict=True):
        steps[start] = {yes: math.log(0.2), no: math.log(0.1)}
    found = choices.probabilities(completion(pieces, steps), [True, False])
    assert found == pytest.approx([0.2 / 0.3] * 2)


def test_a_token_over_the_beginning_of_a_value_decides(tokenizer: Any) -> None:
    form = AnswerFile().form_of(("fear", "calm"))
    choices = Choices(tokenizer, form)
    yes, no = choices.pairs[0]
    pieces = ('{"fear', '":t', 'rue,"calm":', "false", "}")
    steps = [{}, {yes: -3.0, no: -2.0, 7: -0.1}, {}, {yes: -2.0, no: -1.0}, {}]
    found = choices.probabilities(completion(pieces, steps, (5, 7, 6, no, 8)), [True, False])
    weights = [math.exp(value) for value in (-3.0, -0.1, -2.0)]
    assert found == pytest.approx(
        [(weights[0] + weights[1]) / sum(weights), 1 / (1 + math.exp(1.0))]
    )


def test_a_probability_that_nothing_tells_is_no_number(tokenizer: Any) -> None:
    form = AnswerFile().form_of(("fear", "calm"))
    choices = Choices(tokenizer, form)
    yes, no = choices.pairs[0]
    whole = completion(
        ('{"fear":', "true", ',"calm":', "false", "}"),
        [{}, {yes: -0.5, no: -0.9}, {}, {yes: -2.0, no: -1.0}, {}],
    )
    assert not any(map(math.isnan, choices.probabilities(whole, [True, False])))
    for lacking in (
        replace(whole, logprobs=[*whole.logprobs[:3], {}, {}]),
        replace(whole, logprobs=whole.logprobs[:3]),
        replace(whole, pieces=whole.pieces[:3], logprobs=whole.logprobs[:3]),
    ):
        found = choices.probabilities(lacking, [True, False])
        assert found[0] == pytest.approx(1 / (1 + math.exp(-0.4)))
        assert math.isnan(found[1])
    nothing = replace(whole, pieces=(), logprobs=[])
    assert all(map(math.isnan, choices.probabilities(nothing, [True, False])))


@pytest.mark.parametrize(
    ("no", "yes", "probability"),
    [
        (-math.inf, -1.0, 1.0),
        (-1.0, -math.inf, 0.0),
        (-5000.0, -1.0, 1.0),
        (-1.0, -5000.0, 0.0),
        (-2.0, -2.0, 0.5),
        (-math.inf, -math.inf, math.nan),
        (-1.0, math.nan, math.nan),
        (math.nan, -1.0, math.nan),
        (math.nan, math.nan, math.nan),
    ],
)
def test_shares_at_the_edges(no: float, yes: float, probability: float) -> None:
    choice = Choice(yes=1, no=0, lead=0, turn=0)
    assert choice.share({1: yes, 0: no}, None, True) == pytest.approx(probability, nan_ok=True)


@pytest.mark.parametrize("count", [1, 60])
def test_any_number_of_labels(either: Any, count: int) -> None:
    names = [f"etykieta nr {number}" for number in range(count)]
    form = AnswerFile(style="spaced").form_of(names)
    choices = Choices(either, form)
    row = [number % 3 == 0 for number in range(count)]
    ids = ids_of(either, form.write(row))
    steps = [dict.fromkeys(choices.token_ids, -1.0) for _ in ids]
    found = choices.probabilities(completion(texts_of(either, ids), steps, tuple(ids)), row)
    assert found == pytest.approx([0.5] * count)
