"""Every metric against scikit-learn on the same rows, read from Arrow and from Parquet."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from medsent import predictions
from medsent.config.labels import LABELS
from medsent.metrics.statistics.metrics import (
    label_figures,
    left_out,
    macro,
    overall_figures,
    success_rate,
)
from medsent.reducer.counts import Counts
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, batch, named, random_rows

RATES = ("precision", "recall", "f1")
SHARE = st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0])
ROWS = st.builds(
    random_rows,
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 60),
    missing=SHARE,
    positive=SHARE,
    unusable=st.sampled_from([0, 0.2, 1]),
)
SCOPE = Scope.of(["baseline", "candidate"], LABELS, ["persona"])


def matrices(
    rows: list[dict[str, Any]], variant: str, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gold, prediction and which cells have both, each (N, L), row by row in Python."""
    gold, said, known = [], [], []
    for row in rows:
        if row["outcome"] != "scored":
            continue
        prediction = row[variant]
        labels = prediction["labels"] if prediction["status"] == "ok" else dict.fromkeys(names)
        both = [row["gold"][x] is not None and labels[x] is not None for x in names]
        # In a cell without both, neither is positive: no precision, recall or F1 sees it.
        gold.append([bool(row["gold"][x]) and b for x, b in zip(names, both, strict=True)])
        said.append([bool(labels[x]) and b for x, b in zip(names, both, strict=True)])
        known.append(both)
    shape = (len(gold), len(names))
    return tuple(np.array(part, dtype=bool).reshape(shape) for part in (gold, said, known))


def same(ours: float, theirs: float) -> bool:
    """Whether two figures agree to 1e-12, or are both undefined."""
    return (math.isnan(ours) and math.isnan(theirs)) or abs(ours - theirs) <= 1e-12


def assert_same_labels(counts: Counts, gold: Any, said: Any, known: Any) -> None:
    figures = label_figures(counts)
    rates = scores(gold, said, None, np.nan) if len(gold) else np.full((3, gold.shape[1]), np.nan)
    for i in range(gold.shape[1]):
        y, p = gold[known[:, i], i], said[known[:, i], i]
        expected = {rate: values[i] for rate, values in zip(RATES, rates, strict=True)}
        expected |= dict.fromkeys(("accuracy", "specificity", "prevalence"), math.nan)
        if len(y):
            expected["accuracy"] = sk.accuracy_score(y, p)
            expected["specificity"] = sk.recall_score(y, p, pos_label=False, zero_division=np.nan)
            expected["prevalence"] = y.mean()
        two_by_two = len(set(y)) == 2 and len(set(p)) == 2
        expected["mcc"] = sk.matthews_corrcoef(y, p) if two_by_two else math.nan
        expected["support"] = y.sum()
        for name, value in expected.items():
            assert same(figures[name][i], value), (i, name)


def assert_same_averages(counts: Counts, gold: Any, said: Any, known: Any) -> None:
    ours = overall_figures(counts)
    rows = known.any(axis=1)
    y, p, has = gold[rows], said[rows], known[rows]
    if not len(y):
        assert all(math.isnan(v) for n, v in ours.items() if n != "generation_success_rate")
        return
    for average in ("macro", "micro", "samples", "weighted"):
        for rate, value in zip(RATES, scores(y, p, average, np.nan), strict=True):
            if average == "weighted" and undefined_where_supported(y, p, rate):
                value = math.nan  # no label with support has it; scikit-learn averages the others
            assert same(ours[f"{average}_{rate}"], value), (average, rate)
    for rule in (0, 1):
        for rate, value in zip(RATES, scores(y, p, "macro", rule), strict=True):
            if math.isnan(ours[f"macro_{rate}"]):
                value = math.nan  # no label has it: neither rule makes a figure of nothing
            assert same(ours[f"macro_{rate}_undefined_as_{rule}"], value), (rate, rule)
    accuracies = [
        sk.accuracy_score(y[has[:, i], i], p[has[:, i], i]) for i in np.flatnonzero(has.any(axis=0))
    ]
    assert same(ours["accuracy"], np.mean(accuracies))
    assert same(ours["hamming_accuracy"], sk.accuracy_score(y[has], p[has]))
    assert same(ours["subset_accuracy"], sk.accuracy_score(y, p))
    if has.all():
        assert same(ours["hamming_accuracy"], 1 - sk.hamming_loss(y, p))
        assert same(ours["accuracy"], ours["hamming_accuracy"])


def scores(y: Any, p: Any, average: str | None, rule: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sk.precision_recall_fscore_support(y, p, average=average, zero_division=rule)[:3]


def undefined_where_supported(y: Any, p: Any, rate: str) -> bool:
    supported = y.any(axis=0)
    return not (supported & p.any(axis=0) if rate == "precision" else supported).any()


def assert_same(
    rows: list[dict[str, Any]], counts: dict[str, Counts], names: Sequence[str] = LABELS
) -> None:
    for variant in SCOPE.variants:
        parts = matrices(rows, variant, names)
        found = counts.get(variant, Counts.none(parts[0].shape[1]))
        assert_same_labels(found, *parts)
        assert_same_averages(found, *parts)
        scored = [row for row in rows if row["outcome"] == "scored"]
        answered = [row[variant]["status"] == "ok" for row in scored]
        rate = overall_figures(found)["generation_success_rate"]
        assert same(rate, np.mean(answered) if scored else math.nan)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_every_figure_is_scikit_learns(rows: pa.RecordBatch) -> None:
    state = reduce_batches([rows.slice(0, 17), rows.slice(17)], SCOPE)
    read = rows.to_pylist()
    assert_same(read, state.slices.get(ALL, {}))
    for persona in ("x", None):
        mine = [row for row in read if row["persona"] == persona]
        assert_same(mine, state.slices.get(("persona", persona or "none"), {}))


def test_every_figure_is_scikit_learns_from_parquet(tmp_path: Path) -> None:
    for seed in range(2):
        part = random_rows(seed, 1_500, missing=0.1, positive=0.2, unusable=0.1)
        pq.write_table(pa.Table.from_batches([part]), tmp_path / f"{seed}.parquet")
    state = reduce_batches(predictions.batches(tmp_path, rows=700), SCOPE)
    read = predictions.table(tmp_path).to_pylist()
    assert len(read) == 3_000
    assert_same(read, state.slices[ALL])


@pytest.mark.slow
@pytest.mark.parametrize("labels", [2, 5, 60])
def test_every_figure_is_scikit_learns_for_any_number_of_labels(labels: int) -> None:
    names = named(labels)
    scope = Scope.of(SCOPE.variants, names, ["persona"])
    parts = [
        random_rows(seed, 150, missing=0.1, positive=0.2, unusable=0.1, labels=labels)
        for seed in range(3)
    ]
    state = reduce_batches(parts, scope)
    read = [row for part in parts for row in part.to_pylist()]
    assert_same(read, state.slices[ALL], names)
    mine = [row for row in read if row["persona"] == "x"]
    assert_same(mine, state.slices["persona", "x"], names)


def test_predicted_rate_counts_rows_without_gold() -> None:
    gold = np.full((4, 21), -1, dtype=np.int8)
    said = np.zeros((4, 21), dtype=np.int8)
    said[0, 0] = 1
    answers = Answers(said, ["ok", "ok", "ok", "truncated"])
    counts = reduce_batches([batch(gold, {"v": answers})], Scope.of(["v"], LABELS)).slices[ALL]["v"]
    figures = label_figures(counts)
    assert figures["predicted_rate"][0] == pytest.approx(1 / 3)
    assert figures["predicted_rate"][1] == 0
    assert np.isnan(figures["f1"]).all()


def test_nothing_counted_is_nothing_known() -> None:
    assert all(math.isnan(value) for value in overall_figures(Counts.none(5)).values())
    assert math.isnan(success_rate({}))
    assert success_rate({"truncated": 2}) == 0


def test_macro_names_what_it_leaves_out() -> None:
    gold = np.zeros((2, 21), dtype=np.int8)
    said = np.zeros((2, 21), dtype=np.int8)
    gold[0, :3] = said[0, :2] = 1  # two labels right, one missed, 18 without any positive
    counts = reduce_batches([batch(gold, {"v": Answers(said)})], Scope.of(["v"], LABELS)).slices[
        ALL
    ]["v"]
    assert left_out(counts, LABELS) == {
        "f1": list(LABELS[3:]),
        "precision": list(LABELS[2:]),
        "recall": list(LABELS[3:]),
    }
    f1 = label_figures(counts)["f1"]
    assert macro(f1) == pytest.approx(2 / 3)
    assert macro(f1, 0) == pytest.approx(2 / 21)
    assert macro(f1, 1) == pytest.approx(20 / 21)


def test_mcc_of_counts_whose_product_overflows_64_bits() -> None:
    cells = np.zeros((21, 3, 3), dtype=np.int64)
    cells[:, 1:, 1:] = np.array([[3, 1], [1, 3]]) * 10**9
    assert label_figures(replace(Counts.none(21), cells=cells))["mcc"] == pytest.approx(
        np.full(21, 0.5)
    )
