"""The histograms' laws, which cells they hold, and that no machine bins a record otherwise."""

import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.config.labels import LABELS
from medsent.errors import RunError
from medsent.reducer import scores
from medsent.reducer.scores import LOWEST, N_BINS, SCALE, Scores, bins, count_scores

NONE = Scores.none(len(LABELS))
EXACT = np.array([0.0, 0.5, 1.0, np.nan], dtype=np.float32)


def random_cells(
    seed: int, rows: int, missing: float = 0.1, labels: int = len(LABELS)
) -> tuple[np.ndarray, np.ndarray]:
    """Return gold and probabilities, (N, L) each, with exact 0, 0.5 and 1 among them."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, (rows, labels), dtype=np.int8)
    gold[rng.random(gold.shape) < missing] = -1
    spread = rng.choice([0.1, 1, 10])
    probabilities = 1 / (1 + np.exp(-rng.normal(0, spread, gold.shape)))
    probabilities[rng.random(gold.shape) < missing] = np.nan
    exact = rng.random(gold.shape) < 0.1
    probabilities[exact] = rng.choice(EXACT, exact.sum())
    return gold, probabilities.astype(np.float32)


def one_cell(gold: int, probability: float) -> Scores:
    """Count one record with this cell for the first label, and nothing for the others."""
    cells = np.full((1, len(LABELS)), -1, dtype=np.int8)
    cells[0, 0] = gold
    return count_scores(cells, np.full(cells.shape, probability, dtype=np.float32))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from([0.0, 0.1, 1.0]))
def test_any_order_and_any_split_give_the_same_state(seed: int, rows: int, missing: float) -> None:
    gold, probabilities = random_cells(seed, rows, missing)
    whole = count_scores(gold, probabilities)
    order = np.random.default_rng(seed).permutation(rows)
    cuts = [0, *sorted(random.Random(seed).choices(range(rows + 1), k=3)), rows]
    parts = [order[start:end] for start, end in pairwise(cuts)]
    states = [count_scores(gold[part], probabilities[part]) for part in parts]
    a, b, c, d = states
    assert count_scores(gold[order], probabilities[order]) == whole
    assert a.merge(b).merge(c).merge(d) == whole
    assert d.merge(b).merge(a.merge(c)) == whole
    assert NONE.merge(whole) == whole == whole.merge(NONE)
    assert states == [count_scores(gold[part], probabilities[part]) for part in parts]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    gold, probabilities = random_cells(1, 100)
    whole = count_scores(gold, probabilities)
    monkeypatch.setattr(scores, "_BLOCK", 7)
    assert count_scores(gold, probabilities) == whole


def test_states_of_different_cells_are_not_equal() -> None:
    gold, probabilities = random_cells(2, 30, missing=0)
    whole = count_scores(gold, probabilities)
    assert whole != count_scores(gold[1:], probabilities[1:])
    assert whole.merge(whole) != whole
    for name in ("logits", "records", "positives", "probability", "squared_error"):
        assert replace(NONE, **{name: getattr(NONE, name) + 1}) != NONE


def test_every_number_is_an_integer_and_none_is_added_by_rows() -> None:
    few, many = (count_scores(*random_cells(3, rows)) for rows in (1, 5_000))
    for name, array in vars(many).items():
        assert array.dtype == np.int64
        assert array.shape == getattr(few, name).shape == getattr(NONE, name).shape


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([1, 5, 21, 60]))
def test_sums_are_those_of_a_loop_over_cells(seed: int, rows: int, labels: int) -> None:
    gold, probabilities = random_cells(seed, rows, labels=labels)
    records, positives, probability = (np.zeros((labels, 10), int) for _ in range(3))
    squared = np.zeros(labels, int)
    for (row, label), y in np.ndenumerate(gold):
        p = float(probabilities[row, label])
        if y < 0 or np.isnan(p):
            continue
        exact = Fraction(p)
        tenth = next(i for i in range(10) if exact <= Fraction(i + 1, 10))
        records[label, tenth] += 1
        positives[label, tenth] += int(y)
        probability[label, tenth] += round(exact * SCALE)
        squared[label] += round(Fraction((p - int(y)) ** 2) * SCALE)
    found = count_scores(gold, probabilities)
    assert (found.records == records).all()
    assert (found.positives == positives).all()
    assert (found.probability == probability).all()
    assert (found.squared_error == squared).all()
    assert (found.logits.sum(axis=2)[:, 1] == positives.sum(axis=1)).all()
    assert (found.logits.sum(axis=(1, 2)) == records.sum(axis=1)).all()


@pytest.mark.parametrize(("gold", "probability"), [(-1, 0.3), (0, np.nan), (1, np.nan)])
def test_a_cell_without_gold_or_probability_is_left_out(gold: int, probability: float) -> None:
    assert one_cell(gold, probability) == NONE


@pytest.mark.parametrize(
    ("probability", "bin_of_odds", "tenth"),
    [
        (0.0, 0, 0),
        (1e-45, 1 + 8192 - 8079, 0),  # the least float32 above 0
        (0.1, 1 + 8192 - 1075, 1),  # as a float32 it lies above a tenth
        (np.nextafter(np.float32(0.5), np.float32(0)), 8192, 4),
        (0.5, 1 + 8192, 4),
        (np.nextafter(np.float32(1), np.float32(0)), 1 + 8192 + 4367, 9),
        (1.0, N_BINS - 1, 9),
    ],
)
def test_where_a_probability_is_counted(probability: float, bin_of_odds: int, tenth: int) -> None:
    found = one_cell(1, probability)
    assert np.argwhere(found.logits).tolist() == [[0, 1, bin_of_odds]]
    assert np.argwhere(found.records).tolist() == [[0, tenth]]


@pytest.mark.parametrize("probability", [-0.001, 1.001, np.inf])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(RunError, match="below 0 or above 1"):
        one_cell(1, probability)


def test_no_stored_probability_lies_so_near_an_edge_that_rounding_could_move_it() -> None:
    # Processors differ in the last digits of a logarithm: by less than 1e-11 of a bin's width.
    near = LOWEST[1:].astype(np.float32)
    around = [np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(1))]
    for probability in (part.astype(np.float64) for part in around):
        expected = probability >= LOWEST[1:]
        assert ((bins(probability) > np.arange(len(near))) == expected).all()
        inside = (probability > 0) & (probability < 1) & (probability != 0.5)
        odds = probability[inside] / (1 - probability[inside])
        steps = np.arcsinh(np.log(odds) / 4) * 2048
        assert np.abs(steps - np.rint(steps)).min() > 1e-10


def test_bins_ascend_with_the_probability() -> None:
    probability = np.sort(np.concatenate([LOWEST, np.geomspace(1e-50, 1, 5_000)]))
    found = bins(probability)
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, N_BINS - 1)
    assert (np.diff(LOWEST) > 0).all()
