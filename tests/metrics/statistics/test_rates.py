"""Rates of two runs: what few opinions, rates of none and shared opinions do to their interval."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from medsent.metrics.statistics.rates import Rates, rate_changes
from medsent.reducer.weights import opinion_keys, poisson_weights


def rates(given: npt.NDArray[np.int64], first: int = 0, readers: int = 1) -> Rates:
    """Return those of opinions with ids from `first` on; `given` are records by opinion, (N, C)."""
    keys = opinion_keys(str(first + i) for i in range(len(given)))
    drawn = poisson_weights(keys, 0, 400).astype(np.int64)
    weights = np.concatenate([np.ones((len(given), 1), dtype=np.int64), drawn], axis=1).T
    return Rates.of(weights @ given, readers * weights.sum(axis=1))


def some(rng: np.random.Generator, opinions: int, shares: list[float]) -> npt.NDArray[np.int64]:
    return (rng.random((opinions, len(shares))) < shares).astype(np.int64)


def test_a_rate_that_no_new_opinion_shows_is_no_sure_change() -> None:
    """The bootstrap alone calls the standard error of 0 of 12 nothing."""
    rng = np.random.default_rng(0)
    before = rates(some(rng, 1_500, [0.15, 0.4]))
    now = rates(np.stack([np.zeros(12, int), np.arange(12) % 2], axis=1), first=10_000)
    assert now.drawn[:, 0].std() == 0
    value, low, high = rate_changes(before, now, number=2)
    assert value[0] == pytest.approx(-0.15, abs=0.03)
    assert low[0] < -0.3
    assert high[0] > 0
    # The other way round it is the same.
    assert rate_changes(now, before, number=2)[2][0] == pytest.approx(-low[0])


def test_many_independent_opinions_are_tested_as_a_2_x_2_table_is() -> None:
    rng = np.random.default_rng(1)
    given = [some(rng, size, [0.3, 0.5]) for size in (800, 400)]
    value, low, high = rate_changes(rates(given[0]), rates(given[1], first=10_000), number=1)
    for i in range(2):
        table = [[each[:, i].sum(), len(each) - each[:, i].sum()] for each in given]
        z = np.sqrt(stats.chi2_contingency(table, correction=False).statistic)
        theirs = abs(value[i]) / z
        ours = (high[i] - low[i]) / 2 / stats.t.isf(0.025, 399)
        assert ours == pytest.approx(theirs, rel=0.12)  # 400 replicates


def test_the_same_opinions_are_paired() -> None:
    rng = np.random.default_rng(2)
    given = some(rng, 300, [0.3, 0.02, 0.0])
    same = rate_changes(rates(given), rates(given), number=3)
    assert [each.tolist() for each in same] == [[0.0, 0.0, 0.0]] * 3
    changed = given.copy()
    changed[:9, 0] = 1 - changed[:9, 0]
    paired = rate_changes(rates(given), rates(changed), number=3)
    apart = rate_changes(rates(given), rates(changed, first=10_000), number=3)
    assert paired[2][0] - paired[1][0] < (apart[2][0] - apart[1][0]) / 2


def test_readers_who_agree_add_little() -> None:
    """16 readers of one mind are one; 16 of their own minds are nearly 16 opinions."""
    rng = np.random.default_rng(3)
    agree = [16 * some(rng, size, [0.3] * 4) for size in (400, 100)]
    apart = [rng.binomial(16, 0.3, (size, 4)) for size in (400, 100)]
    wide, narrow = (
        rate_changes(rates(old, readers=16), rates(new, first=10_000, readers=16), number=1)
        for old, new in (agree, apart)
    )
    ratio = (wide[2] - wide[1]).mean() / (narrow[2] - narrow[1]).mean()
    assert ratio == pytest.approx(4, rel=0.2)


def test_too_few_opinions_have_no_interval() -> None:
    rng = np.random.default_rng(4)
    before, now = rates(some(rng, 200, [0.3])), rates(some(rng, 6, [0.3]), first=10_000)
    value, low, high = rate_changes(before, now, number=1)
    assert not np.isnan(value).any()
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_nothing_has_no_rate() -> None:
    none = Rates.of(np.zeros((11, 2), dtype=np.int64), np.zeros(11, dtype=np.int64))
    assert np.isnan(none.values).all()
    assert none.opinions == 0
