"""Two figures against each other: difference and ratio, with intervals that agree with the test.

A hypothesis about the two, such as that they are equal, is tested with the standard error that
holds if it is true (a score test), and an interval has all values that its test does not reject.
With the standard error at the values seen in place of that, two variants whose errors are of
opposite kinds are found to differ too often. Interval and test cannot contradict each other, nor
can the interval of the difference and that of the ratio, which is Fieller's (1954).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.polynomial import polynomial
from scipy import optimize, special, stats

from medsent.metrics.statistics.intervals import ALPHA, Floats
from medsent.metrics.statistics.replicates import Drawn

POWER: Final = 0.8

_FAR: Final = float(np.log(1e4))
"""The largest logarithm of a factor that `times()` looks for; the smallest is its negative."""
_REAL: Final = 1e-7
"""A root whose imaginary part is below this is real."""


@dataclass(frozen=True)
class Contrast:
    """What the replicates say of a baseline's figure and a candidate's, each a mean of ratios.

    Under a hypothesis d for candidate - baseline, the two ratios of a term differ by d + e, where
    e is how far the term's observed difference lies from the mean difference. Their mean m,
    weighted by the wholes, is kept: the baseline's ratio is m - b (d + e) and the candidate's
    m + (1 - b) (d + e), where b is the candidate's share of the wholes. The residual of a
    replicate, (part - ratio x whole) / mean whole, is linear in d: B0 - d B1 for the candidate
    and A0 + d A1 for the baseline.
    """

    baseline: float
    """The figures, their bias corrected by what the replicates show of it."""
    candidate: float
    covariance: Floats
    """(4, 4): of B0, B1, A0 and A1 over the replicates."""
    middle: float
    """What the baseline's figure is under d = 0."""
    weight: float
    """By how much it falls with d: the mean of b."""
    df: float
    """Degrees of freedom of the standard error."""

    @classmethod
    def of(cls, values: tuple[float, float], drawn: tuple[Drawn, Drawn]) -> "Contrast":
        """`values` are both figures on all records, `drawn` their replicates."""
        base, candidate = drawn
        wholes = [np.nan_to_num(side.wholes) for side in drawn]
        known = (wholes[0].mean(axis=0) > 0) & (wholes[1].mean(axis=0) > 0)
        sizes = [whole[:, known] / whole[:, known].mean(axis=0) for whole in wholes]
        ratios = [np.nan_to_num(side.terms[:, known]) for side in drawn]
        parts = [ratio * size for ratio, size in zip(ratios, sizes, strict=True)]
        old, new = (part.mean(axis=0) for part in parts)
        totals = [whole[:, known].mean(axis=0) for whole in wholes]
        share = totals[1] / (totals[0] + totals[1])
        apart = (new - old) - (new - old).mean()
        middle = old + share * (new - old)
        lowest = middle - share * apart
        columns = (
            parts[1] - (middle + (1 - share) * apart) * sizes[1],
            (1 - share) * sizes[1],
            parts[0] - lowest * sizes[0],
            share * sizes[0],
        )
        means = np.stack([column.mean(axis=1) for column in columns])
        df = candidate.minus(base).df
        corrected = [
            2 * v - float(np.nanmean(d.values)) for v, d in zip(values, drawn, strict=True)
        ]
        return cls(
            corrected[0],
            corrected[1],
            np.cov(means),
            float(lowest.mean()),
            float(share.mean()),
            df,
        )

    @property
    def difference(self) -> float:
        """candidate - baseline."""
        return self.candidate - self.baseline

    def se(self, difference: float) -> float:
        """Return the standard error of the difference, were this the true one."""
        return float(np.sqrt(self._variance(self._at(difference))))

    @property
    def p(self) -> float:
        """Of the two-sided test of no difference."""
        return float(2 * stats.t.sf(abs(self.difference) / self.se(0.0), self.df))

    def quantile(self, number: int = 1, sides: int = 2) -> float:
        """Return how many standard errors a hypothesis may be off, as one of `number` (Bonferroni).

        This is the quantile of Student's t. It is conservative, since the standard error under a
        hypothesis already grows with the distance from the figures. Without this caution, opinions
        that have most of the records would make the family-wise error over labels exceed its
        level, as `make validate-statistics` would show.
        """
        return float(stats.t.isf(ALPHA / sides / number, self.df))

    def detectable(self, number: int = 1, sides: int = 2) -> float | None:
        """Return the smallest true difference that is found with 80% power; None where none is.

        That is of data that vary as these do, whose interval reaches as far.
        """
        low, high = self._ends(number, sides)
        power = float(stats.t.ppf(POWER, self.df))
        found = (high - low) / 2 + power * self.se(self.difference)
        return found if found < 1 else None

    def detectable_range(self) -> tuple[float, float] | None:
        """Return where `detectable()` lies, which rests on a standard error that is estimated."""
        found = self.detectable()
        if found is None:
            return None
        ends = stats.chi2.ppf([1 - ALPHA / 2, ALPHA / 2], self.df)
        low, high = found * np.sqrt(self.df / ends)
        return float(low), float(high)

    def careful_low(self, influence: float, number: int = 1, sides: int = 2) -> float:
        """Return the lower end, or a lower one where the two disagree on few opinions.

        `influence` is by how much one opinion moves the figure. A true loss of d takes at least
        d / `influence` opinions. Their number is a Poisson count, so the variance of the loss is at
        least d x `influence`. If by chance few such opinions were seen, the observed variance is
        too small to test the loss. Tango's (1998) interval for two paired shares uses the variance
        under the hypothesis for the same reason.
        """
        low, t = self.interval(number, sides)[0], self.quantile(number, sides)
        seen, variance = self.difference, self._variance(self._at(self.difference))

        def short(lower: float) -> float:
            return seen - lower - t * float(np.sqrt(max(variance, -lower * influence)))

        return -1.0 if short(-1.0) <= 0 else min(low, float(optimize.brentq(short, -1.0, seen)))

    def times(self, difference: float, number: int = 1, sides: int = 2) -> float | None:
        """Return how many times as many opinions show such a true difference with 80% power.

        They are assumed to vary as these do, and degrees of freedom grow with their number. None
        where the interval of these has no end, or no number of opinions would suffice.
        """
        low, high = self._ends(number, sides)
        if not difference > 0 or not np.isfinite(high - low):
            return None
        reach = (high - low) / 2 / self.quantile(number, sides)
        se = self.se(self.difference)

        def excess(log_times: float) -> float:
            times = float(np.exp(log_times))
            df = max(self.df * times, 1.0)
            t, power = special.stdtrit(df, [1 - ALPHA / sides / number, POWER])
            return float((t * reach + power * se) / np.sqrt(times) - difference)

        if excess(-_FAR) <= 0 or excess(_FAR) >= 0:
            return None
        return float(np.exp(optimize.brentq(excess, -_FAR, _FAR)))

    def spread_of_times(self) -> tuple[float, float]:
        """Return by which factors `times()` may be off, since the standard error is estimated."""
        low, high = stats.chi2.ppf([1 - ALPHA / 2, ALPHA / 2], self.df)
        return float(self.df / low), float(self.df / high)

    def interval(self, number: int = 1, sides: int = 2) -> tuple[float, float]:
        """Return the interval of the difference, within -1 and 1.

        It is one of `number` that hold at once. With `sides` 1, each end is a one-sided bound.
        """
        low, high = self._ends(number, sides)
        return max(low, -1.0), min(high, 1.0)

    def _ends(self, number: int, sides: int) -> tuple[float, float]:
        t = self.quantile(number, sides)
        start, slope = self._at(0.0), self._at(1.0) - self._at(0.0)
        cross = float(start @ self.covariance @ slope)
        # (d - x)^2 <= t^2 Var(start + x slope)
        gap = [self.difference, -1.0]
        variance = np.array([self._variance(start), 2 * cross, self._variance(slope)])
        return _around(np.convolve(gap, gap) - t**2 * variance, self._inside(self.difference, t))

    def relative(self) -> tuple[float, float] | None:
        """Return the interval of candidate / baseline - 1; None where it has no end."""
        if not self.baseline > 0:
            return None
        # With x the relative improvement, d is middle x / (1 + weight x). All is multiplied by
        # (1 + weight x), so that the residual of a replicate is a polynomial in x.
        wide, ratio, moved = np.array([[1.0, self.weight], [1.0, 1.0], [0.0, self.middle]])
        of_candidate = ([*wide, 0.0], [*-moved, 0.0])
        of_baseline = (-np.convolve(ratio, wide), -np.convolve(ratio, moved))
        factors = (*of_candidate, *of_baseline)
        gap = np.convolve([self.difference, -self.baseline], wide)
        variance = sum(
            self.covariance[i, j] * np.convolve(factors[i], factors[j])
            for i in range(4)
            for j in range(4)
        )
        t = self.quantile()
        poly = np.convolve(gap, gap) - t**2 * variance
        low, high = _around(poly, self._inside(self.difference / self.baseline, t))
        return None if np.isinf(high) else (max(low, -1.0), high)

    def _inside(self, seen: float, t: float) -> list[float]:
        """Return values that the interval must contain: the one seen and, if not rejected, zero.

        Where the figures are very uncertain, the values not rejected may form two separate parts.
        """
        return [seen, *([0.0] if abs(self.difference) <= t * self.se(0.0) else [])]

    @staticmethod
    def _at(difference: float) -> Floats:
        """Return the factors of B0, B1, A0 and A1 in the residuals, candidate less baseline."""
        return np.array([1.0, -difference, -1.0, -difference])

    def _variance(self, factors: Floats) -> float:
        return max(float(factors @ self.covariance @ factors), 0.0)


def _around(poly: Floats, inside: Sequence[float]) -> tuple[float, float]:
    """Return the nearest real roots below and above some points; infinite where there is none."""
    roots = polynomial.polyroots(poly)
    real = roots.real[np.abs(roots.imag) < _REAL * (1 + np.abs(roots.real))]
    below, above = real[real <= min(inside)], real[real >= max(inside)]
    return float(below.max(initial=-np.inf)), float(above.min(initial=np.inf))
