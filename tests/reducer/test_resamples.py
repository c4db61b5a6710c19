"""Replicates inside the reducer: the same in any order and split, and what they are sums of."""

from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.config.labels import LABELS
from medsent.predictions import label_matrix
from medsent.reducer import slices, state
from medsent.reducer.resamples import FIXED
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction, Scope, reduce_batches
from medsent.reducer.weights import opinion_keys, poisson_weights
from tests.predicted import Answers, batch, random_rows
from tests.reducer.test_state import shuffled_parts

pytestmark = pytest.mark.slow

PAIR = ("baseline", "candidate")
SCOPE = Scope.of(PAIR, LABELS, ["language", "clinic"], pairs=[PAIR], replicates=20, seed=3)
UNSLICED = Scope.of(PAIR, LABELS, pairs=[PAIR], replicates=20)


def with_opinions(rows: pa.RecordBatch, seed: int, opinions: int = 12) -> pa.RecordBatch:
    drawn = np.random.default_rng(seed).integers(0, opinions, rows.num_rows)
    names = [f"opinion-{number}" for number in drawn]
    place = rows.schema.get_field_index("opinion_id")
    return rows.set_column(place, "opinion_id", pa.array(names, pa.string()))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60))
def test_any_order_and_any_split_give_the_same_replicates(seed: int, count: int) -> None:
    rows = with_opinions(random_rows(seed, count, 0.1, 0.4, 0.2), seed)
    whole = reduce_batches([rows], SCOPE)
    a, b, c, d = (reduce_batches([part], SCOPE) for part in shuffled_parts(rows, seed))
    assert reduce_batches(shuffled_parts(rows, seed + 1), SCOPE) == whole
    assert d.merge(b).merge(a.merge(c)) == whole
    assert Reduction(SCOPE).merge(whole) == whole


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 4))
def test_nor_does_the_order_matter_where_a_column_has_many_values(
    seed: int, count: int, most: int
) -> None:
    """There are 4 clinics: a part may hold as many as have replicates, and the whole more."""
    rows = with_opinions(random_rows(seed, count, 0.1, 0.4, 0.2), seed)
    with patch.object(state, "MAX_RESAMPLED", most):
        whole = reduce_batches([rows], SCOPE)
        a, b, c, d = (reduce_batches([part], SCOPE) for part in shuffled_parts(rows, seed))
        assert reduce_batches(shuffled_parts(rows, seed + 1), SCOPE) == whole
        assert d.merge(b).merge(a.merge(c)) == whole
        assert b.merge(c).merge(a).merge(d) == whole
    clinics = {key for key in whole.slices if key[0] == "clinic"}
    kept = {key for key in whole.resamples if key[0] == "clinic"}
    assert kept == (clinics if len(clinics) <= most else set())


def test_a_column_of_many_values_has_no_replicates_whatever_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "MAX_RESAMPLED", 3)
    assert slices.MAX_RESAMPLED > 4
    rows = with_opinions(random_rows(1, 60, 0.1, 0.4, 0.2), 1)  # 4 clinics, 2 languages
    whole = reduce_batches([rows], SCOPE)
    assert {column for column, _ in whole.resamples} == {"", "language"}
    for (column, _), pairs in whole.pairs.items():
        assert (pairs[PAIR].resampled is None) == (column == "clinic")
    parts = [reduce_batches([rows.slice(i, 6)], SCOPE) for i in range(0, 60, 6)]
    for order in (parts, parts[::-1]):
        merged = Reduction(SCOPE)
        for part in order:
            merged = merged.merge(part)
        assert merged == whole


def test_replicates_are_weighted_sums_over_opinions() -> None:
    rows = with_opinions(random_rows(4, 200, 0.1, 0.4, 0.2), 4, opinions=30)
    found = reduce_batches([rows], SCOPE)
    scored = rows.filter(pa.compute.equal(rows["outcome"], "scored"))
    weights = poisson_weights(opinion_keys(scored["opinion_id"].to_pylist()), 3, 20).astype(int)
    gold, given_ = label_matrix(scored["gold"], ""), label_matrix(scored["baseline"], "labels")
    ok = np.array(pa.compute.equal(pa.compute.struct_field(scored["baseline"], "status"), "ok"))
    given_[~ok] = -1
    known = (gold >= 0) & (given_ >= 0)
    cells = {
        "tp": (gold == 1) & (given_ == 1),
        "fp": known & (gold == 0) & (given_ == 1),
        "fn": known & (gold == 1) & (given_ == 0),
        "tn": known & (gold == 0) & (given_ == 0),
    }
    drawn = found.resamples[ALL]["baseline"]
    for name, cell in cells.items():
        assert np.array_equal(drawn.cell(name), weights.T @ cell.astype(int))
    tp, fp, fn = (cells[name].sum(axis=1) for name in ("tp", "fp", "fn"))
    assert np.array_equal(drawn.rows("answered"), weights.T @ ok.astype(int))
    exact = known.any(axis=1) & (fp + fn == 0)
    assert np.array_equal(drawn.rows("exact"), weights.T @ exact.astype(int))
    whole = 2 * tp + fp + fn
    f1 = FIXED * 2 * tp // np.maximum(whole, 1)
    assert np.array_equal(drawn.mean_sums("f1"), weights.T @ f1)
    assert np.array_equal(drawn.rows("f1_of"), weights.T @ (whole > 0).astype(int))


def test_opinions_with_a_label_are_counted_once() -> None:
    gold = np.zeros((6, len(LABELS)), dtype=np.int8)
    gold[[0, 1, 4], 0] = 1
    gold[5, 1] = 1
    answers = Answers(gold, ["ok"] * 5 + ["truncated"])
    rows = batch(gold, dict.fromkeys(PAIR, answers), {"opinion_id": ["a", "a", "b", "b", "c", "d"]})
    drawn = reduce_batches([rows], UNSLICED).resamples[ALL]["baseline"]
    assert [len(sketch) for sketch in drawn.positives[:2]] == [2, 0]
    assert sorted(drawn.positives[0].records) == [1, 2]


def test_what_each_variant_alone_is_right_about() -> None:
    gold = np.zeros((3, len(LABELS)), dtype=np.int8)
    gold[:, 0] = 1
    base, candidate = gold.copy(), gold.copy()
    base[0, 0], candidate[1:, 0] = 0, 0
    ids = {"opinion_id": ["a", "a", "b"]}
    rows = batch(gold, {"baseline": Answers(base), "candidate": Answers(candidate)}, ids)
    pair = reduce_batches([rows], UNSLICED).pairs[ALL][PAIR]
    assert pair.discordant[0].tolist() == [2, 1]
    assert not pair.discordant[1:].any()
    assert len(pair.disagreeing[0]) == 2
    assert sorted(pair.opinions.records) == [1, 2]
