"""How far rates of two runs are apart, also with so few opinions that a rate may be seen as 0."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from medsent.metrics.statistics.estimates import FEW_OPINIONS
from medsent.metrics.statistics.intervals import ALPHA, Floats, clusters


@dataclass(frozen=True)
class Rates:
    """Some rates of one run, all with the same denominator."""

    values: Floats
    """(C,); NaN where the denominator is 0."""
    drawn: Floats
    """(R, C): the rates in each bootstrap replicate."""
    wholes: Floats
    """(R,): the denominator in each replicate."""

    @classmethod
    def of(cls, parts: npt.NDArray[np.integer], wholes: npt.NDArray[np.integer]) -> "Rates":
        """`parts` are (1 + R, C) and `wholes` (1 + R,): the sums, then those of each replicate."""
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = parts / wholes[:, None]
        return cls(rates[0], rates[1:], wholes[1:].astype(np.float64))

    @property
    def opinions(self) -> float:
        """The effective number of opinions; 0 where there are none."""
        return float(np.nan_to_num(clusters(self.wholes)))

    def errors(self, pooled: Floats) -> Floats:
        """Return the standard error of each rate, (C,), if the pooled rate is the true one.

        With few opinions a rate may by chance be 0 in the run, and so in every replicate. So each
        standard error is at least a binomial one, for the effective number of opinions that all
        rates of the run together imply. It is never smaller than the replicates show.
        """
        seen = np.nanvar(self.drawn, axis=0, ddof=1)
        binomial = (self.values * (1 - self.values)).sum()
        size = binomial / seen.sum() if seen.sum() > 0 else self.opinions
        return np.asarray(np.sqrt(np.maximum(seen, pooled * (1 - pooled) / size)))


def rate_changes(before: Rates, now: Rates, number: int) -> tuple[Floats, Floats, Floats]:
    """Return now - before with intervals that hold for `number` at once, (C,); NaN from too few.

    The rates of opinions that both runs hold are paired, since these weigh the same in both.
    """
    value = now.values - before.values
    opinions = np.array([before.opinions, now.opinions])
    if opinions.min() < FEW_OPINIONS:
        none = np.full(value.shape, np.nan)
        return value, none, none
    seen = opinions[0] * before.values + opinions[1] * now.values
    # Half an opinion is added: a rate that is 0 in both runs still has a standard error.
    pooled = (seen + 0.5) / (opinions.sum() + 1)
    errors = before.errors(pooled), now.errors(pooled)
    unlike = _unlike(before.drawn, now.drawn)
    unlike = np.where(np.isnan(unlike), _unlike(before.wholes, now.wholes), unlike)
    variance = (errors[0] - errors[1]) ** 2 + errors[0] * errors[1] * unlike
    width = stats.t.isf(ALPHA / 2 / number, opinions.min() - 1) * np.sqrt(variance)
    return value, value - width, value + width


def _unlike(first: Floats, second: Floats) -> Floats:
    """Return 2 (1 - correlation) of replicates; just 0 of the same, NaN where one never varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = [(each - each.mean(axis=0)) / each.std(axis=0) for each in (first, second)]
    return np.asarray(np.square(scaled[0] - scaled[1]).mean(axis=0))
