"""The figures of `metrics`, in every bootstrap replicate at once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.metrics.statistics.intervals import Floats, clusters, satterthwaite, spread
from medsent.metrics.statistics.metrics import RATES, Cells, ratio
from medsent.reducer.counts import Ints
from medsent.reducer.resamples import FIXED, Resamples

Bools = npt.NDArray[np.bool_]

SUCCESS: Final = "generation_success_rate"


@dataclass(frozen=True)
class Drawn:
    """An overall figure in each replicate."""

    terms: Floats
    """(R, L): the figure is their mean; L is 1 where it is no mean over labels."""
    wholes: Floats
    """(R, L) what each term is a ratio of."""
    opinions: float
    """Effective number of opinions: a standard error has no more degrees of freedom."""

    @property
    def values(self) -> Floats:
        """(R,); NaN where no term is defined."""
        known = ~np.isnan(self.terms)
        number = known.sum(axis=1)
        total = np.where(known, self.terms, 0.0).sum(axis=1)
        undefined = np.full(len(total), np.nan)
        return np.asarray(np.divide(total, number, out=undefined, where=number > 0))

    @property
    def df(self) -> float:
        """Degrees of freedom of the figure's standard error."""
        if not self.terms.shape[1]:
            return float("nan")
        numbers = clusters(self.wholes)
        if self.terms.shape[1] == 1:
            return float(numbers[0] - 1)
        # Satterthwaite's takes the labels for independent, which those of an opinion are not.
        free = satterthwaite(spread(self.terms, numbers).se ** 2, numbers)
        return float(np.fmin(free, self.opinions - 1))

    def of_term(self, index: int) -> "Drawn":
        """Return one of the terms alone."""
        return replace(self, terms=self.terms[:, [index]], wholes=self.wholes[:, [index]])

    def minus(self, other: "Drawn") -> "Drawn":
        """Return the difference of the same figure, term by term."""
        opinions = float(np.fmin(self.opinions, other.opinions))
        return Drawn(self.terms - other.terms, self.wholes + other.wholes, opinions)


def overall_replicates(resamples: Resamples, kept: Mapping[str, Bools]) -> dict[str, Drawn]:
    """Return every overall figure that can have an interval.

    `kept` has, for each of `RATES`, (L,) booleans: the labels that its macro average is over.
    """
    cells, opinions = Cells.drawn(resamples), effective_opinions(resamples)
    everything = np.ones(cells.tp.shape[-1], dtype=bool)
    macro = {f"macro_{rate}": macro_replicates(resamples, rate, kept[rate]) for rate in RATES}
    macro["accuracy"] = macro_replicates(resamples, "accuracy", everything)
    single: dict[str, tuple[Floats | Ints, Ints]] = {
        **{f"weighted_{rate}": _weighted(cells, rate) for rate in RATES},
        **{f"micro_{rate}": cells.pooled(rate) for rate in RATES},
        "hamming_accuracy": cells.pooled("accuracy"),
        SUCCESS: (resamples.rows("answered"), resamples.rows("rows")),
        "subset_accuracy": (resamples.rows("exact"), resamples.rows("evaluated")),
        **{
            f"samples_{rate}": (resamples.mean_sums(rate) / FIXED, resamples.rows(f"{rate}_of"))
            for rate in RATES
        },
    }
    return macro | {name: _one(*found, opinions) for name, found in single.items()}


def macro_replicates(resamples: Resamples, figure: str, kept: Bools) -> Drawn:
    """Return the mean over the kept labels, (L,) booleans, of a figure of `LABEL_FIGURES`."""
    cells = Cells.drawn(resamples)
    whole = cells.ratio(figure)[1][:, kept].astype(np.float64)
    return Drawn(cells.value(figure)[:, kept], whole, effective_opinions(resamples))


def success_replicates(resamples: Resamples) -> Drawn:
    """Return the generation success rate."""
    rows = resamples.rows("rows")
    return _one(resamples.rows("answered"), rows, float(clusters(rows)))


def effective_opinions(resamples: Resamples) -> float:
    """Return how many opinions of equal size would vary as those that were evaluated do."""
    return float(clusters(resamples.rows("evaluated")))


def _weighted(cells: Cells, figure: str) -> tuple[Floats, Ints]:
    values, support = cells.value(figure), cells.tp + cells.fn
    weight = np.where(np.isnan(values), 0, support)
    return (np.nan_to_num(values) * weight).sum(axis=1), weight.sum(axis=1)


def _one(part: Floats | Ints, whole: Ints, opinions: float) -> Drawn:
    return Drawn(ratio(part, whole)[:, None], whole[:, None].astype(np.float64), opinions)
