"""Differences and ratios of two figures: against formulas, and against each other."""

import numpy as np
import pytest
from scipy import stats

from medsent.metrics.statistics.contrasts import Contrast
from medsent.metrics.statistics.intervals import Floats
from medsent.metrics.statistics.replicates import Drawn
from medsent.reducer.weights import opinion_keys, poisson_weights

OPINIONS, REPLICATES = 300, 4000


def drawn(parts: Floats, wholes: Floats) -> tuple[Floats, Drawn]:
    """Return ratios, (L,), of parts and wholes by opinion, (N, L), and their replicates."""
    keys = opinion_keys(str(i) for i in range(len(parts)))
    weights = poisson_weights(keys, 0, REPLICATES).astype(np.float64).T
    terms = (weights @ parts) / (weights @ wholes)
    return parts.sum(axis=0) / wholes.sum(axis=0), Drawn(terms, weights @ wholes, len(parts))


def contrast(rates: tuple[float, float], labels: int = 1, seed: int = 0) -> Contrast:
    """Return that of two shares of the same opinions, with as many labels."""
    rng = np.random.default_rng(seed)
    shape = (OPINIONS, labels)
    sides = [drawn((rng.random(shape) < rate) * 1.0, np.ones(shape)) for rate in rates]
    values = (float(sides[0][0].mean()), float(sides[1][0].mean()))
    return Contrast.of(values, (sides[0][1], sides[1][1]))


def test_two_shares_of_independent_records_are_tested_as_a_2_x_2_table_is() -> None:
    """Pearson's test of homogeneity takes its variance at the pooled rate too."""
    found = contrast((0.4, 0.5))
    right = [round(OPINIONS * share) for share in (found.baseline, found.candidate)]
    table = [[number, OPINIONS - number] for number in right]
    theirs = stats.chi2_contingency(table, correction=False)
    z = found.difference / found.se(0.0)
    assert z**2 == pytest.approx(theirs.statistic, rel=0.07)  # 4,000 replicates


@pytest.mark.parametrize("labels", [1, 6])
@pytest.mark.parametrize("rates", [(0.4, 0.42), (0.2, 0.3), (0.5, 0.9), (0.3, 0.1)])
def test_the_intervals_hold_what_their_test_does_not_reject(
    rates: tuple[float, float], labels: int
) -> None:
    found = contrast(rates, labels)
    t = found.quantile()
    for end in found.interval():
        assert abs(found.difference - end) == pytest.approx(t * found.se(end), rel=1e-6)
    low, high = found.interval()
    ends = found.relative()
    assert ends is not None
    assert (found.p < 0.05) == (low > 0 or high < 0) == (ends[0] > 0 or ends[1] < 0)
    seen = found.difference / found.baseline
    assert ends[0] < seen < ends[1]


def test_a_test_at_its_bound_has_both_intervals_end_at_0() -> None:
    """Whichever way, so that none of the three can contradict another."""
    for seed in range(20):
        found = contrast((0.3, 0.37), labels=3, seed=seed)
        inside = found.p >= 0.05
        low, high = found.interval()
        ends = found.relative()
        assert ends is not None
        assert inside == (low <= 0 <= high) == (ends[0] <= 0 <= ends[1])


def test_the_ratios_interval_is_fiellers() -> None:
    """On shares, whose variances are known, and away from 0 where the score's differ little."""
    found = contrast((0.5, 0.6))
    ends = found.relative()
    assert ends is not None
    a, b = found.baseline, found.candidate
    variances = [share * (1 - share) / OPINIONS for share in (a, b)]
    t = found.quantile()
    # (b - r a)^2 = t^2 (var b + r^2 var a), independent
    roots = np.roots([a**2 - t**2 * variances[0], -2 * a * b, b**2 - t**2 * variances[1]])
    assert np.array(ends) + 1 == pytest.approx(np.sort(roots), rel=0.02)


def test_a_baseline_that_may_be_0_has_no_ratio() -> None:
    rng = np.random.default_rng(0)
    few = np.zeros((OPINIONS, 1))
    few[:2] = 1
    many = (rng.random((OPINIONS, 1)) < 0.5) * 1.0
    sides = [drawn(part, np.ones((OPINIONS, 1))) for part in (few, many)]
    found = Contrast.of((2 / OPINIONS, float(many.mean())), (sides[0][1], sides[1][1]))
    assert found.p < 0.001
    assert found.relative() is None


def test_more_at_once_is_wider_and_one_side_is_narrower() -> None:
    found = contrast((0.4, 0.45))
    low, high = found.interval()
    together, alone = found.interval(21), found.interval(sides=1)
    assert together[0] < low < alone[0] < alone[1] < high < together[1]
    one, two, many = found.detectable(sides=1), found.detectable(), found.detectable(21)
    assert one is not None
    assert two is not None
    assert many is not None
    assert one < two < many
    ends = found.detectable_range()
    assert ends is not None
    assert ends[0] < two < ends[1]


@pytest.mark.parametrize("opinions", [100, 400])
def test_the_detectable_difference_is_found_in_four_of_five(opinions: int) -> None:
    """Of paired shares: the candidate is right where the baseline is not, or the reverse."""
    keys = opinion_keys(str(i) for i in range(opinions))
    weights = poisson_weights(keys, 0, 1000).astype(np.float64).T
    whole = weights.sum(axis=1, keepdims=True)

    def drawn_gain(gain: float, rng: np.random.Generator) -> Contrast:
        kind = rng.choice(4, opinions, p=[0.3, 0.3, 0.2 - gain / 2, 0.2 + gain / 2])
        sides = [np.isin(kind, right).astype(float)[:, None] for right in ([1, 2], [1, 3])]
        figures = [Drawn((weights @ side) / whole, whole, opinions) for side in sides]
        values = (float(sides[0].mean()), float(sides[1].mean()))
        return Contrast.of(values, (figures[0], figures[1]))

    rng = np.random.default_rng(0)
    expected = [drawn_gain(0.1, rng).detectable() for _ in range(20)]
    gain = float(np.mean([each for each in expected if each is not None]))
    found = [drawn_gain(gain, rng).p < 0.05 for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


def test_ends_stay_within_what_a_difference_can_be() -> None:
    variances = np.diag([0.4, 0.0, 0.4, 0.0])
    found = Contrast(0.5, 0.6, variances, 0.5, 0.5, 9.0)
    assert found.interval(21) == (-1.0, 1.0)
    assert found.detectable(21) is None


def test_the_careful_end_is_lower_only_where_few_opinions_disagree() -> None:
    found = contrast((0.4, 0.42))
    low, _ = found.interval()
    assert found.careful_low(0.0) == low
    assert found.careful_low(1 / OPINIONS / 10) == low
    large = found.careful_low(0.2)
    assert large < low
    # At it, the difference is as many standard errors off, by the variance of as many losses.
    assert found.difference - large == pytest.approx(
        found.quantile() * np.sqrt(-large * 0.2), rel=1e-6
    )
    assert found.careful_low(0.2, number=21) < large < found.careful_low(0.2, sides=1)


def test_so_many_times_as_many_opinions_show_a_difference() -> None:
    found = contrast((0.4, 0.42))
    detectable = found.detectable()
    assert detectable is not None
    assert found.times(detectable) == pytest.approx(1, rel=1e-3)
    assert found.times(detectable / 2) == pytest.approx(4, rel=0.02)
    tenth, more = found.times(detectable / 10), found.times(detectable / 10, number=21)
    assert tenth is not None
    assert more is not None
    assert more > tenth > 99
    assert found.times(0.0) is None
    assert found.times(1e-7) is None
    low, high = found.spread_of_times()
    assert low < 1 < high


@pytest.mark.slow
def test_no_interval_contradicts_its_test_where_the_baseline_is_hardly_known() -> None:
    """What is not rejected is then in two parts at times, and zero in the other one."""
    rng, in_two_parts = np.random.default_rng(0), 0
    for _ in range(4000):
        root = rng.normal(size=(4, 4)) * rng.choice([0.02, 0.1, 0.3], 4)[:, None]
        base, new = rng.uniform(0.02, 0.6, 2)
        found = Contrast(base, new, root @ root.T, base, rng.uniform(0.2, 0.8), rng.uniform(8, 60))
        low, high = found.interval()
        assert (low <= 0 <= high) == (found.p >= 0.05)
        ends = found.relative()
        if ends is None:
            in_two_parts += found.p >= 0.05 and found.difference < 0
        else:
            assert (ends[0] <= 0 <= ends[1]) == (found.p >= 0.05)
            assert ends[0] <= found.difference / base <= ends[1]
    assert in_two_parts
