"""Calibration and ranking figures against scikit-learn and direct computations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from medsent.config.labels import LABELS
from medsent.metrics.statistics.calibration import (
    LabelCalibration,
    label_calibration,
    label_calibrations,
    threshold_curve,
)
from medsent.reducer.scores import Scores, count_scores

pytestmark = pytest.mark.slow

SHAPE = (10_000, len(LABELS))
Distort = Callable[[np.ndarray], np.ndarray]

# By name: mean and spread of the true log odds, and what the model makes of them.
DATA: dict[str, tuple[float, float, Distort]] = {
    "calibrated": (0, 2, lambda z: z),
    "overconfident": (0, 2, lambda z: 3 * z),
    "timid": (0, 2, lambda z: z / 5),
    "biased": (-1, 1.5, lambda z: z + 3),
    "rare": (-5.2, 1.6, lambda z: z),
    "rare, without skill": (-3.9, 0.1, lambda z: np.random.default_rng(0).normal(size=z.shape)),
    "rare, overrated": (-5.2, 1.6, lambda z: z + 4),
    "common": (5.2, 1.6, lambda z: z),
    "saturated": (0, 2, lambda z: 8 * z),
    "rare, saturated": (-5.2, 1.6, lambda z: 5 * z + 10),
    "upside down": (0, 1, lambda z: -z),
    "two decimals": (-1, 2, lambda z: np.round(z, 2)),
}


def drawn(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return gold and probabilities of 10,000 records, drawn afresh for each label."""
    mean, spread, distort = DATA[name]
    rng = np.random.default_rng(list(DATA).index(name))
    odds = rng.normal(mean, spread, SHAPE)
    gold = (rng.random(SHAPE) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return gold, (1 / (1 + np.exp(-distort(odds)))).astype(np.float32)


def first_label(gold: list[int], probabilities: list[float]) -> Scores:
    """Count these cells for the first label, and nothing for the others."""
    cells = np.full((len(gold), len(LABELS)), -1, dtype=np.int8)
    cells[:, 0] = gold
    return count_scores(cells, np.tile(np.float32(probabilities)[:, None], len(LABELS)))


def brier_and_ece(y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Return both, record by record and bin by bin."""
    ece = 0.0
    for i in range(10):
        held = (p > i / 10) & (p <= (i + 1) / 10) | ((i == 0) & (p == 0))
        if held.any():
            ece += held.mean() * abs(p[held].mean() - y[held].mean())
    return float(np.mean((p - y) ** 2)), float(ece)


def assert_calibration(found: LabelCalibration, y: np.ndarray, p: np.ndarray) -> None:
    brier, ece = brier_and_ece(y, p)
    assert (found.records, found.positives) == (len(y), y.sum())
    assert found.brier == pytest.approx(brier, abs=1e-6)
    assert found.brier == pytest.approx(sk.brier_score_loss(y, p, pos_label=1), abs=1e-6)
    assert found.ece == pytest.approx(ece, abs=1e-6)
    held = [part for part in found.bins if part.records]
    rate, mean = calibration_curve(y, p, n_bins=10)
    assert [part.observed_rate for part in held] == pytest.approx(rate, abs=1e-12)
    assert [part.mean_probability for part in held] == pytest.approx(mean, abs=1e-6)
    assert sum(part.records for part in held) == len(y)


@pytest.mark.parametrize("name", DATA)
def test_figures_are_scikit_learns(name: str) -> None:
    gold, probabilities = drawn(name)
    for i, found in enumerate(label_calibrations(count_scores(gold, probabilities))):
        y, p = gold[:, i], probabilities[:, i].astype(np.float64)
        assert found.auroc == pytest.approx(sk.roc_auc_score(y, p), abs=0.002)
        precision = sk.average_precision_score(y, p)
        assert found.average_precision == pytest.approx(precision, abs=0.002)
        assert_calibration(found, y, p)


def test_the_data_are_what_their_names_say() -> None:
    for name in DATA:
        gold, probabilities = drawn(name)
        if name.startswith("rare"):
            assert 0.015 < gold.mean() < 0.025, name
        if "saturated" in name:
            assert (np.abs(probabilities - 0.5) > 0.4999).mean() > 0.4, name
    assert (drawn("saturated")[1] == 1).any()


CELLS = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.floats(0, 1, width=32)), min_size=1, max_size=60
)


@settings(deadline=None)
@given(CELLS)
def test_any_cells_are_ranked_within_the_bound(cells: list[tuple[int, float]]) -> None:
    gold, probabilities = (list(part) for part in zip(*cells, strict=True))
    scores = first_label(gold, probabilities)
    found = label_calibration(scores, 0)
    y, p = np.array(gold), np.array(probabilities)
    brier, ece = brier_and_ece(y, p)
    assert found.brier == pytest.approx(brier, abs=1e-6)
    assert found.ece == pytest.approx(ece, abs=1e-6)
    if len(set(gold)) < 2:
        assert math.isnan(found.auroc)
        assert math.isnan(found.average_precision)
        return
    negative, positive = scores.logits[0]
    pairs_in_one_bin = (negative * positive).sum() / (negative.sum() * positive.sum())
    bound = pairs_in_one_bin / 2 + 1e-12
    assert abs(found.auroc - sk.roc_auc_score(y, p)) <= bound
    assert 0 <= found.ece <= 1


# 3/64 apart in log odds, which is more than any bin is wide here: only exact ties share one.
GRID = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.integers(-200, 200)), min_size=1, max_size=60
).filter(lambda cells: len({y for y, _ in cells}) == 2)


@settings(deadline=None)
@given(GRID)
def test_ranking_is_exact_where_only_ties_share_a_bin(cells: list[tuple[int, int]]) -> None:
    gold = [y for y, _ in cells]
    p = [float(np.float32(1 / (1 + math.exp(-(3 * step + 0.5) / 64)))) for _, step in cells]
    found = label_calibration(first_label(gold, p), 0)
    assert found.auroc == pytest.approx(sk.roc_auc_score(gold, p), abs=1e-12)
    assert found.average_precision == pytest.approx(sk.average_precision_score(gold, p), abs=1e-12)


@pytest.mark.parametrize("positives", [5, 10, 20, 50, 200, 1_000])
def test_average_precision_is_as_near_as_is_said(positives: int) -> None:
    rng = np.random.default_rng(positives)
    for records in (2_000, 10_000):
        for _ in range(20):
            y = np.arange(records) < positives
            odds = np.log(positives / records) + rng.standard_normal(records) + 2 * y
            p = (1 / (1 + np.exp(-odds))).astype(np.float32)
            found = label_calibration(first_label(y.astype(int).tolist(), p.tolist()), 0)
            exact = p.astype(np.float64)
            theirs = sk.average_precision_score(y, exact)
            assert found.average_precision == pytest.approx(theirs, abs=max(0.002, 0.5 / positives))
            assert found.auroc == pytest.approx(sk.roc_auc_score(y, exact), abs=0.002)


def test_missing_gold_and_probabilities_are_left_out() -> None:
    gold, probabilities = drawn("calibrated")
    rng = np.random.default_rng(1)
    gold[rng.random(SHAPE) < 0.3] = -1
    probabilities[rng.random(SHAPE) < 0.3] = np.nan
    for i, found in enumerate(label_calibrations(count_scores(gold, probabilities))):
        known = (gold[:, i] >= 0) & ~np.isnan(probabilities[:, i])
        y, p = gold[known, i], probabilities[known, i].astype(np.float64)
        assert 0.4 < len(y) / len(gold) < 0.6
        assert found.auroc == pytest.approx(sk.roc_auc_score(y, p), abs=0.002)
        assert_calibration(found, y, p)


def test_nothing_counted_is_nothing_known() -> None:
    for found in label_calibrations(Scores.none(len(LABELS))):
        assert (found.records, found.positives) == (0, 0)
        for figure in (found.ece, found.brier, found.auroc, found.average_precision):
            assert math.isnan(figure)
        assert [(part.low, part.high) for part in found.bins][::9] == [(0, 0.1), (0.9, 1)]
        assert all(part.records == 0 for part in found.bins)
        assert all(math.isnan(part.mean_probability) for part in found.bins)
        assert all(math.isnan(part.observed_rate) for part in found.bins)
    curve = threshold_curve(Scores.none(len(LABELS)), 0, 50)
    assert all(len(values) == 0 for values in vars(curve).values())


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_alone_cannot_be_ranked(only: int) -> None:
    found = label_calibration(first_label([only] * 3, [0.1, 0.2, 0.9]), 0)
    assert math.isnan(found.auroc)
    assert math.isnan(found.average_precision)
    assert found.positives == 3 * only
    assert found.brier == pytest.approx(np.mean((np.array([0.1, 0.2, 0.9]) - only) ** 2))
    assert found.ece == pytest.approx(abs(0.4 - only))


def test_certain_and_right_and_certain_and_wrong() -> None:
    right, wrong = (
        label_calibration(first_label([0, 0, 1, 1], p), 0)
        for p in ([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0])
    )
    assert (right.auroc, right.average_precision, right.brier, right.ece) == (1, 1, 0, 0)
    assert (wrong.auroc, wrong.average_precision, wrong.brier, wrong.ece) == (0, 0.5, 1, 1)


def test_all_equal_is_a_ranking_by_chance() -> None:
    found = label_calibration(first_label([0, 1, 1, 0, 0], [0.3] * 5), 0)
    assert found.auroc == 0.5
    assert found.average_precision == pytest.approx(0.4)


def test_pairs_whose_number_overflows_64_bits() -> None:
    scores = first_label([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.8])
    scores.logits *= 2**32
    found = label_calibration(scores, 0)
    assert found.auroc == 0.75
    assert found.average_precision == pytest.approx(5 / 6)


@pytest.mark.parametrize("name", ["calibrated", "rare", "saturated", "two decimals"])
def test_every_point_of_the_curve_is_what_its_threshold_gives(name: str) -> None:
    gold, probabilities = drawn(name)
    scores = count_scores(gold, probabilities)
    curve = threshold_curve(scores, 4, 60)
    y, p = gold[:, 4], probabilities[:, 4].astype(np.float64)
    assert len(curve.thresholds) == 60
    assert (np.diff(curve.thresholds) > 0).all()
    assert curve.recall[0] == curve.predicted_rate[0] == 1
    for i, threshold in enumerate(curve.thresholds):
        given_label = p >= threshold
        assert given_label.any()
        assert curve.precision[i] == pytest.approx(sk.precision_score(y, given_label))
        assert curve.recall[i] == pytest.approx(sk.recall_score(y, given_label))
        assert curve.f1[i] == pytest.approx(sk.f1_score(y, given_label))
        assert curve.predicted_rate[i] == pytest.approx(given_label.mean())


def test_a_curve_has_no_more_points_than_bins_with_records() -> None:
    scores = first_label([1, 0, 1], [0.2, 0.5, 0.5])
    curve = threshold_curve(scores, 0, 50)
    assert curve.thresholds == pytest.approx([0.2, 0.5], abs=0.004)
    assert curve.thresholds[1] == 0.5
    assert curve.precision.tolist() == pytest.approx([2 / 3, 1 / 2])
    assert curve.recall.tolist() == [1, 0.5]
    assert len(threshold_curve(scores, 0, 1).thresholds) == 1


def test_a_curve_without_positives_has_no_recall() -> None:
    curve = threshold_curve(first_label([0, 0], [0.2, 0.7]), 0, 10)
    assert np.isnan(curve.recall).all()
    assert curve.precision.tolist() == curve.f1.tolist() == [0, 0]
    assert curve.predicted_rate.tolist() == [1, 0.5]
