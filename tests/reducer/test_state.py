"""The reducer's laws, and what it counts."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent import predictions
from medsent.config.labels import LABELS
from medsent.errors import ConfigError, RunError
from medsent.reducer import slices
from medsent.reducer.counts import Counts, Rows
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction, Scope, reduce_batches
from tests.predicted import Answers, batch, named, random_rows

SCOPE = Scope.of(["baseline", "candidate"], LABELS, ["language", "persona", "clinic"])
SHARE = st.sampled_from([0.0, 0.1, 0.5, 1.0])
ROWS = st.builds(
    random_rows, st.integers(0, 10**6), st.integers(0, 40), SHARE, SHARE, st.sampled_from([0, 0.3])
)


def one_label(values: list[int]) -> np.ndarray:
    """Return (N, 21) with these values for the first label, and zeros."""
    matrix = np.zeros((len(values), len(LABELS)), dtype=np.int8)
    matrix[:, 0] = values
    return matrix


def shuffled_parts(rows: pa.RecordBatch, seed: int) -> list[pa.RecordBatch]:
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    mixed = rows.take(pa.array(order))
    cuts = sorted(random.Random(seed).choices(range(rows.num_rows + 1), k=3))
    edges = [0, *cuts, rows.num_rows]
    return [mixed.slice(a, b - a) for a, b in pairwise(edges)]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 10**6))
def test_any_order_and_any_split_give_the_same_state(rows: pa.RecordBatch, seed: int) -> None:
    whole = reduce_batches([rows], SCOPE)
    parts = shuffled_parts(rows, seed)
    states = [reduce_batches([part], SCOPE) for part in parts]
    a, b, c, d = states
    assert reduce_batches(parts, SCOPE) == whole
    assert a.merge(b).merge(c).merge(d) == whole
    assert d.merge(b).merge(a.merge(c)) == whole
    empty = Reduction(SCOPE)
    assert empty.merge(whole) == whole == whole.merge(empty)
    # Merging made new states and left the parts as they were.
    assert states == [reduce_batches([part], SCOPE) for part in parts]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [5, 60, 150])
def test_the_same_holds_for_any_number_of_labels(labels: int) -> None:
    scope = Scope.of(
        SCOPE.variants, named(labels), ["clinic"], pairs=[SCOPE.variants], replicates=20
    )
    rows = random_rows(2, 90, 0.1, 0.3, 0.2, labels)
    whole = reduce_batches([rows], scope)
    a, b, c, d = (reduce_batches([part], scope) for part in shuffled_parts(rows, 3))
    assert d.merge(b).merge(a.merge(c)) == whole == Reduction(scope).merge(whole)
    found = whole.slices[ALL]["baseline"]
    assert found.labels == labels
    assert (np.diff(found.rows.triples) > 0).all()
    assert (found.rows.numbers > 0).all()


def test_repaired_answers_are_counted_where_rows_tell_of_them() -> None:
    gold = one_label([1, 0, 1, 0])
    statuses = ["ok", "ok", "ok", "no_json"]
    told = batch(gold, {"v": Answers(gold, statuses, repaired=[True, False, None, True])})
    untold = batch(gold, {"v": Answers(gold)})
    scope = Scope.of(["v"], LABELS)
    assert reduce_batches([told, untold], scope).repaired == {"v": 1}
    assert reduce_batches([untold], scope).repaired == {}
    none = batch(gold[:1], {"v": Answers(gold[:1], repaired=[False])})
    parts = [reduce_batches([part], scope) for part in (untold, none, told)]
    assert parts[1].repaired == {"v": 0}
    assert parts[0].merge(parts[2]).merge(parts[1]).repaired == {"v": 1}


def test_states_of_different_rows_are_not_equal() -> None:
    rows = random_rows(1, 30, 0.1, 0.5, 0.3)
    whole = reduce_batches([rows], SCOPE)
    assert whole != reduce_batches([rows.slice(1)], SCOPE)
    assert whole.merge(whole) != whole
    none = Counts.none(len(LABELS))
    assert none != replace(none, cells=none.cells + 1)
    one = Rows(np.array([0]), np.array([1]))
    assert none != replace(none, rows=one)
    assert one != Rows(np.array([1]), np.array([1])) != Rows(np.array([1]), np.array([2]))


def test_states_of_different_scopes_do_not_merge() -> None:
    with pytest.raises(ValueError, match="scopes"):
        Reduction(SCOPE).merge(Reduction(Scope.of(["baseline"], LABELS)))


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_slices_and_cells_add_up_to_the_whole(rows: pa.RecordBatch) -> None:
    state = reduce_batches([rows], SCOPE)
    assert state.scored + sum(state.quarantined.values()) == rows.num_rows
    for variant in SCOPE.variants:
        whole = state.slices.get(ALL, {}).get(variant, Counts.none(len(LABELS)))
        assert (whole.cells.sum(axis=(1, 2)) == state.scored).all()
        assert sum(whole.statuses.values()) == state.scored
        for column in SCOPE.slices:
            total = Counts.none(len(LABELS))
            for key, counts in state.slices.items():
                total = total.merge(counts[variant]) if key[0] == column else total
            assert total == whole


def test_counts_of_hand_made_rows() -> None:
    gold = one_label([1, 1, 0, 0, -1, 1, 1, 0])
    said = one_label([1, 0, 1, 0, 1, 1, -1, 1])
    statuses = ["ok"] * 5 + ["invalid_answer", "ok", None]
    state = reduce_batches([batch(gold, {"v": Answers(said, statuses)})], Scope.of(["v"], LABELS))
    counts = state.slices[ALL]["v"]
    found = [int(part[0]) for part in (counts.tp, counts.fn, counts.fp, counts.tn)]
    assert found == [1, 1, 1, 1]
    assert int(counts.missing[0]) == 1
    assert int(counts.unanswered[0]) == 3  # unusable, no label, no prediction at all
    assert [int(part[0]) for part in counts.predicted] == [3, 5]
    assert counts.statuses == {"ok": 6, "invalid_answer": 1, "no_prediction": 1}
    assert (
        int(counts.rows.numbers.sum()) == 6
    )  # the other 20 labels of the rows that are ok are known


def test_an_unusable_answer_is_never_zeros() -> None:
    gold = one_label([1, 1])
    usable = batch(gold[:1], {"v": Answers(gold[:1])})
    unusable = batch(gold[1:], {"v": Answers(np.zeros_like(gold[1:]), ["truncated"])})
    with_both = reduce_batches([usable, unusable], Scope.of(["v"], LABELS)).slices[ALL]["v"]
    alone = reduce_batches([usable], Scope.of(["v"], LABELS)).slices[ALL]["v"]
    assert with_both.statuses == {"ok": 1, "truncated": 1}
    assert with_both.rows == alone.rows
    for name in ("tp", "fp", "fn", "tn"):
        assert np.array_equal(getattr(with_both, name), getattr(alone, name))
    assert with_both.unanswered.tolist() == [1] * len(LABELS)


def test_quarantined_rows_are_counted_by_reason_and_nowhere_else() -> None:
    gold = one_label([1, 1, 0])
    columns = {
        "outcome": ["quarantined", "scored", "quarantined"],
        "reason": ["too_long", None, None],
    }
    rows = batch(gold, {"v": Answers(gold)}, columns)
    state = reduce_batches([rows], Scope.of(["v"], LABELS))
    assert (state.scored, dict(state.quarantined)) == (1, {"too_long": 1, "unknown": 1})
    assert state.slices[ALL]["v"].cells.sum() == len(LABELS)


def test_a_null_slice_value_is_none_and_dates_are_text() -> None:
    gold = one_label([1, 0, 0])
    columns = {"persona": ["nurse", None, "nurse"], "date": [20_000, 20_000, None]}
    rows = batch(gold, {"v": Answers(gold)}, columns)
    state = reduce_batches([rows], Scope.of(["v"], LABELS, ["persona", "date"]))
    sizes = {key: sum(counts["v"].statuses.values()) for key, counts in state.slices.items()}
    assert sizes == {
        ALL: 3,
        ("persona", "nurse"): 2,
        ("persona", "none"): 1,
        ("date", "2024-10-04"): 2,
        ("date", "none"): 1,
    }


def test_parquet_files_reduce_to_what_their_rows_do(tmp_path) -> None:
    parts = [random_rows(seed, 500, 0.1, 0.3, 0.1) for seed in range(3)]
    for index, part in enumerate(parts):
        pq.write_table(
            pa.Table.from_batches([part]), tmp_path / f"{index}.parquet", row_group_size=200
        )
    read = reduce_batches(predictions.batches(tmp_path, rows=77), SCOPE)
    assert read.scored > 1_000
    assert read == reduce_batches(parts, SCOPE)


def test_thresholds_relabel_from_the_stored_probabilities() -> None:
    gold = one_label([1, 0, 1, 0, 1])
    stored = one_label([1, 1, 1, 1, -1])
    likely = np.zeros((5, len(LABELS)), dtype=np.float32)
    likely[:, 0] = [0.75, 0.5, 0.25, 0.875, np.nan]
    rows = batch(gold, {"v": Answers(stored, None, likely)})
    cuts = dict.fromkeys(LABELS, 0.5) | {LABELS[0]: 0.75}
    state = reduce_batches([rows], Scope.of(["v"], LABELS, thresholds={"v": cuts}))
    counts = state.slices[ALL]["v"]
    found = [int(part[0]) for part in (counts.tp, counts.fp, counts.fn, counts.tn)]
    assert found == [1, 1, 1, 1]  # at the threshold counts as over it; without a label, neither
    assert int(counts.unanswered[0]) == 1


def test_thresholds_without_probabilities_are_refused() -> None:
    gold = one_label([1])
    scope = Scope.of(["v"], LABELS, thresholds={"v": dict.fromkeys(LABELS, 0.5)})
    with pytest.raises(ConfigError, match=r"variants\.v\.thresholds.*labels without probabilities"):
        reduce_batches([batch(gold, {"v": Answers(gold)})], scope)


@pytest.mark.parametrize(
    ("thresholds", "names"),
    [
        ({"w": dict.fromkeys(LABELS, 0.5)}, "'w'"),
        ({"v": {"joy": 0.5} | dict.fromkeys(LABELS, 0.5)}, "'joy'"),
        ({"v": dict.fromkeys(LABELS[1:], 0.5)}, "'positive'"),
    ],
)
def test_wrong_thresholds_are_named(thresholds: dict, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        Scope.of(["v"], LABELS, thresholds=thresholds)


def test_a_column_of_too_many_values_is_left_out_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slices, "MAX_VALUES", 3)
    gold = one_label([1] * 5)
    columns = {"clinic": ["a", "b", "c", "c", "d"], "ward": ["a", "a", "b", "b", "b"]}
    rows = batch(gold, {"v": Answers(gold)}, columns)
    scope = Scope.of(["v"], LABELS, ["clinic", "ward"])
    first, second = (reduce_batches([part], scope) for part in (rows.slice(0, 4), rows.slice(4)))
    assert not first.crowded
    for state in (
        reduce_batches([rows], scope),
        reduce_batches([rows, rows], scope),
        first.merge(second),
        second.merge(first).merge(first),
    ):
        assert state.crowded == {"clinic"}
        assert set(state.slices) == {slices.ALL, ("ward", "a"), ("ward", "b")}


def test_rows_that_are_not_these_predictions_are_refused() -> None:
    gold = one_label([1])
    rows = batch(gold, {"v": Answers(gold)})
    with pytest.raises(RunError, match="'other'"):
        reduce_batches([rows], Scope.of(["v", "other"], LABELS))
    with pytest.raises(RunError, match="the predictions are of 21 labels"):
        reduce_batches([rows], Scope.of(["v"], LABELS[1:]))
    with pytest.raises(ConfigError, match=r"statistics\.slices.*'ward'"):
        reduce_batches([rows], Scope.of(["v"], LABELS, ["ward"]))
    with pytest.raises(ConfigError, match=r"statistics\.slices.*'gold'"):
        reduce_batches([rows], Scope.of(["v"], LABELS, ["gold"]))
    with pytest.raises(RunError, match="neither scored nor quarantined"):
        reduce_batches(
            [batch(gold, {"v": Answers(gold)}, {"outcome": ["lost"]})], Scope.of(["v"], LABELS)
        )
