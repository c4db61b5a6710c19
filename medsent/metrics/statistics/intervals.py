"""95% intervals and tests from bootstrap replicates; NaN where there is none.

Percentile intervals cover too seldom on clustered data with rare labels. The forms here take
only the spread from the replicates, and for a mean of ratios its bias. The shape is Wilson's (1927)
for a ratio and the logit's for a mean of ratios, and t is Student's with the effective number of
clusters less one, or fewer, as degrees of freedom.
`make validate-statistics` shows their coverage. Replicates are the first axis of arrays.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

CONFIDENCE: Final = 0.95
ALPHA: Final = 1 - CONFIDENCE

_FEWEST_REPLICATES: Final = 2
NO_SPREAD: Final = 1e-12
"""Replicates whose standard error is not above this do not differ, but for floats."""


@dataclass(frozen=True)
class Spread:
    """What the replicates of some figures say, each (...,)."""

    mean: Floats
    """Of the replicates where the figure is defined."""
    se: Floats
    """Their standard deviation, made unbiased: the figure's standard error."""
    df: Floats
    """Degrees of freedom of that."""

    @property
    def t(self) -> Floats:
        """The quantile of Student's t for a two-sided interval; NaN without freedom."""
        return np.asarray(stats.t.ppf(1 - ALPHA / 2, np.where(self.df > 0, self.df, np.nan)))


def spread(replicates: Numbers, df: npt.ArrayLike) -> Spread:
    """Return mean and standard error over the first axis; NaN replicates are left out.

    Bootstrap replicates vary as if the variance of the clusters were divided by their number n, not
    by n - 1, which is `df`: this is corrected.
    """
    known = ~np.isnan(replicates)
    number = known.sum(axis=0)
    enough = number >= _FEWEST_REPLICATES
    total = np.where(known, replicates, 0.0).sum(axis=0)
    mean = np.divide(total, number, out=np.full(number.shape, np.nan), where=enough)
    square = np.where(known, (replicates - mean) ** 2, 0.0).sum(axis=0)
    se = np.sqrt(np.divide(square, number - 1, out=np.full(number.shape, np.nan), where=enough))
    free = np.asarray(df, dtype=np.float64)
    return Spread(mean, se * np.sqrt(np.where(free > 0, 1 + 1 / np.maximum(free, 1), 1)), free)


def clusters(replicates: Numbers) -> Floats:
    """Return the effective number of clusters of a count (Kish 1965), count^2 / Var(count*).

    The replicates' mean stands for the count; NaN where it never varies.
    """
    drawn = replicates.astype(np.float64)
    square, variance = drawn.mean(axis=0) ** 2, drawn.var(axis=0, ddof=1)
    return np.asarray(
        np.divide(square, variance, out=np.full(np.shape(square), np.nan), where=variance > 0)
    )


def satterthwaite(variances: Numbers, numbers: Numbers, axis: int = -1) -> Floats:
    """Return the degrees of freedom of a sum of terms (Satterthwaite 1946).

    `variances` and `numbers` are each term's variance and effective number of clusters.
    """
    weight = np.square(variances) / np.maximum(numbers - 1, np.finfo(float).tiny)
    total, parts = np.nansum(variances, axis=axis), np.nansum(weight, axis=axis)
    undefined = np.full(np.shape(total), np.nan)
    return np.asarray(np.divide(total**2, parts, out=undefined, where=parts > 0))


def ratio_interval(
    value: npt.ArrayLike, found: Spread, opinions: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return a Wilson interval of a ratio of counts, at its effective sample size.

    That size is p (1 - p) / se^2. Where replicates do not differ, as at 0 and 1, it is `opinions`:
    the number of opinions that are in the ratio's denominator.
    """
    p = np.asarray(value, dtype=np.float64)
    within, varies = p * (1 - p), _varies(found)
    size = np.where(
        varies & (within > 0),
        np.divide(within, found.se**2, out=np.full(p.shape, np.nan), where=varies),
        opinions,
    )
    return _wilson(p, size, found.t)


def f1_interval(
    value: npt.ArrayLike, found: Spread, opinions: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return an interval of F1 by way of Jaccard's index F / (2 - F), which is a ratio."""
    f1 = np.asarray(value, dtype=np.float64)
    jaccard = f1 / (2 - f1)
    of_jaccard = Spread(found.mean, 2 * found.se / (2 - f1) ** 2, found.df)
    low, high = ratio_interval(jaccard, of_jaccard, opinions)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def mean_interval(
    value: npt.ArrayLike, found: Spread, opinions: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Return an interval of a mean of ratios, on the logit scale, its bias corrected.

    The bias is what the replicates show of it: mean* - value. Where no replicate differs, as
    for a mean of zeros, the interval is that of a ratio over so many opinions.
    """
    if not _varies(found).all():
        return ratio_interval(value, found, opinions)
    middle = np.clip(2 * np.asarray(value, dtype=np.float64) - found.mean, 1e-6, 1 - 1e-6)
    centre = np.log(middle / (1 - middle))
    width = found.t * found.se / (middle * (1 - middle))
    return special.expit(centre - width), special.expit(centre + width)


def widened_high(value: float, high: float, number: int) -> float:
    """Return the upper end of an interval that holds for `number` figures at once (Bonferroni).

    `high` is the end of the interval for one figure. Wilson's formula gives the z^2 / n behind it;
    this is multiplied by the squared ratio of the normal's quantiles, and the formula gives the new
    end. With few opinions, Student's quantiles would widen it a little more.
    """
    if not value < high < 1:
        return high
    wider = stats.norm.ppf(1 - ALPHA / 2 / number) / stats.norm.ppf(1 - ALPHA / 2)
    extra = wider**2 * (high - value) ** 2 / (high * (1 - high))
    root = np.sqrt(extra * value * (1 - value) + extra**2 / 4)
    return float((value + extra / 2 + root) / (1 + extra))


def holm(p_values: npt.ArrayLike) -> Floats:
    """Return p-values corrected for their number (Holm 1979); NaNs stay and do not count."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def mcnemar(alone: Numbers) -> float:
    """Return the exact p-value of McNemar's (1947) test, from the two discordant counts."""
    first, second = (int(number) for number in alone)
    return float(stats.binomtest(first, first + second).pvalue) if first + second else 1.0


def _varies(found: Spread) -> npt.NDArray[np.bool_]:
    """Tell where replicates differ by more than floats do."""
    return np.asarray(np.nan_to_num(found.se) > NO_SPREAD)


def _wilson(p: Floats, size: Floats, t: Floats) -> tuple[Floats, Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        extra = t**2 / size
        middle = p + extra / 2
        width = t * np.sqrt(p * (1 - p) / size + extra / size / 4)
        low, high = (middle - width) / (1 + extra), (middle + width) / (1 + extra)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
