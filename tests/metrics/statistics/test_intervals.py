"""Intervals, tests and corrections, each against another way to compute it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medsent.metrics.statistics.intervals import (
    Spread,
    clusters,
    f1_interval,
    holm,
    mcnemar,
    mean_interval,
    ratio_interval,
    satterthwaite,
    spread,
)
from medsent.reducer.weights import opinion_keys, poisson_weights

RECORDS = 400


def drawn_f1(has: np.ndarray, says: np.ndarray, replicates: int) -> np.ndarray:
    """F1 of each replicate, one record an opinion."""
    keys = opinion_keys(str(i) for i in range(len(has)))
    weights = poisson_weights(keys, 0, replicates).astype(np.int64)
    tp, fp, fn = (weights.T @ cell for cell in (has & says, ~has & says, has & ~says))
    return 2 * tp / (2 * tp + fp + fn)


def test_standard_error_and_interval_agree_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    has = rng.random(RECORDS) < 0.4
    says = np.where(rng.random(RECORDS) < 0.2, ~has, has)

    def f1(gold: np.ndarray, given_: np.ndarray, axis: int = -1) -> np.ndarray:
        tp = (gold & given_).sum(axis=axis)
        return 2 * tp / (gold.sum(axis=axis) + given_.sum(axis=axis))

    found = spread(drawn_f1(has, says, 4000), RECORDS - 1)
    theirs = stats.bootstrap(
        (has, says), f1, paired=True, n_resamples=4000, vectorized=True, rng=rng, method="BCa"
    )
    # 4,000 replicates give a standard error to 1.1%; two of them, to 1.6%.
    assert found.se == pytest.approx(theirs.standard_error, rel=0.06)
    low, high = f1_interval(f1(has, says), found, RECORDS)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.15 * found.se * 4)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.15 * found.se * 4)


def test_weights_are_the_opinions_own() -> None:
    keys = opinion_keys(["a", "b", "c", "a"])
    weights = poisson_weights(keys, 0, 1003)
    assert weights.shape == (4, 1003)
    assert np.array_equal(weights[0], weights[3])
    assert np.array_equal(weights[::-1], poisson_weights(keys[::-1], 0, 1003))
    assert np.array_equal(weights[:, :100], poisson_weights(keys, 0, 100))
    assert not np.array_equal(weights, poisson_weights(keys, 1, 1003))


def test_weights_are_poisson_and_independent() -> None:
    weights = poisson_weights(opinion_keys(str(i) for i in range(2000)), 0, 1000).astype(float)
    expected = stats.poisson.pmf(np.arange(6), 1) * weights.size
    found = [(weights == value).sum() for value in range(6)]
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max())
    assert abs(weights.mean() - 1) < 5 / np.sqrt(weights.size)
    between_replicates = np.corrcoef(weights[:, :40].T) - np.eye(40)
    between_opinions = np.corrcoef(weights[:40]) - np.eye(40)
    assert np.abs(between_replicates).max() < 5 / np.sqrt(2000)
    assert np.abs(between_opinions).max() < 5 / np.sqrt(1000)


@pytest.mark.parametrize(("right", "of"), [(0, 20), (7, 20), (20, 20), (300, 1000)])
def test_a_ratio_of_independent_records_has_wilsons_interval(right: int, of: int) -> None:
    share = right / of
    se = np.sqrt(share * (1 - share) / of)
    # Student's t with very many degrees of freedom is normal.
    found = Spread(np.array(share), np.array(se), np.array(1e9))
    low, high = ratio_interval(share, found, of)
    theirs = stats.binomtest(right, of).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_an_interval_of_a_mean_is_corrected_for_bias_and_stays_within_0_and_1() -> None:
    found = Spread(np.array(0.96), np.array(0.02), np.array(30.0))
    low, high = mean_interval(0.97, found, 31)
    assert low < 0.98 < high < 1  # 2 x 0.97 - 0.96


@pytest.mark.parametrize("value", [0.0, 1.0, 15 / 16])
def test_a_figure_of_which_no_replicate_differs_still_has_a_width(value: float) -> None:
    found = Spread(np.array(value), np.array(0.0), np.array(19.0))
    for low, high in (ratio_interval(value, found, 20), mean_interval(value, found, 20)):
        assert low - 1e-9 <= value <= high + 1e-9
        assert high - low > 0.1


def test_effective_clusters_are_the_opinions_where_each_counts_the_same() -> None:
    weights = poisson_weights(opinion_keys(str(i) for i in range(200)), 0, 4000)
    assert clusters(weights.sum(axis=0)) == pytest.approx(200, rel=0.1)
    # 16 records each change nothing; one opinion with half of all records does.
    assert clusters(16 * weights.sum(axis=0)) == pytest.approx(200, rel=0.1)
    lopsided = weights.sum(axis=0) + 199 * weights[0].astype(int)
    assert clusters(lopsided) == pytest.approx(4, rel=0.1)


def test_satterthwaite_of_equal_terms_adds_their_freedom() -> None:
    assert satterthwaite(np.full(5, 0.2), np.full(5, 11.0)) == pytest.approx(50)
    assert satterthwaite(np.array([1.0, 0.0]), np.array([11.0, 99.0])) == pytest.approx(10)


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12))
def test_holm_is_his_step_down(p_values: list[float]) -> None:
    corrected = holm(p_values)
    known = [p for p in p_values if not np.isnan(p)]
    for p, found in zip(p_values, corrected, strict=True):
        if np.isnan(p):
            assert np.isnan(found)
            continue
        # Every hypothesis with a p-value of at most this one must be rejected on the way.
        steps = [(len(known) - sum(other < q for other in known)) * q for q in known if q <= p]
        assert found == pytest.approx(min(1.0, max(steps)))


@pytest.mark.parametrize(
    ("alone", "p"), [((0, 0), 1.0), ((5, 5), 1.0), ((0, 6), 0.03125), ((8, 1), 0.0390625)]
)
def test_mcnemar_is_exact(alone: tuple[int, int], p: float) -> None:
    assert mcnemar(np.array(alone)) == pytest.approx(p)


def test_undefined_replicates_are_left_out() -> None:
    replicates = np.array([[0.1, np.nan], [0.3, np.nan], [np.nan, 0.5]])
    found = spread(replicates, [10, 10])
    assert found.mean[0] == pytest.approx(0.2)
    assert np.isnan(found.se[1])
