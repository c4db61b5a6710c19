"""A population of readings whose true figures are known, and samples of opinions from it.

A probit model: a label is given where a normal latent passes a cut. Latents of an opinion's
records are correlated (0.4), as are those of its labels, and a variant's latent follows gold's
with a correlation that sets how good it is. Marginals stay normal, so that true F1 is exact.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import optimize, stats

from medsent.config.labels import LABELS
from medsent.metrics.statistics.metrics import overall_figures
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, batch

Floats = npt.NDArray[np.float64]
Scenario: TypeAlias = Literal["equal", "alike", "biases", "better", "worse", "damaged"]

VARIANTS: Final = ("baseline", "candidate")
PREVALENCE: Final = np.geomspace(0.02, 0.4, len(LABELS))
GAIN: Final = 0.07
MARGIN: Final = 0.02
"""By which a candidate is worse that is just not as good."""
BY_RECORD: Final = ("samples_f1", "samples_precision", "samples_recall", "subset_accuracy")

_WITHIN: Final = 0.4
"""Correlation of two records of an opinion."""
_SHARED: Final = 0.5
"""Share of an opinion's effect that all labels have in common."""
_FOLLOWS: Final = 0.75
"""Correlation of the baseline's latent with gold's."""
_VERY_MANY: Final = 400_000
_OFF_BEST: Final = 0.95
"""Of the best F1, what two variants with opposite biases both reach."""


@dataclass(frozen=True, eq=False)
class Population:
    """21 labels and two variants; arrays are (21,) or (2, 21)."""

    scenario: Scenario
    gold_cut: Floats
    follows: Floats
    cuts: Floats

    @classmethod
    @cache
    def of(cls, scenario: Scenario) -> "Population":
        """Equal variants, equal F1 by opposite biases, or a candidate better by `GAIN`."""
        gold = stats.norm.isf(PREVALENCE)
        follows = np.full((2, len(LABELS)), _FOLLOWS)
        cuts = np.tile(gold, (2, 1))
        for label, cut in enumerate(gold):
            if scenario == "biases":
                cuts[:, label] = _biased(cut)
            if scenario == "better":
                follows[1, label] = _better(cut)
        return cls(scenario, gold, follows, cuts)

    @cached_property
    def shares(self) -> tuple[Floats, Floats, Floats]:
        """The true shares of tp, fp and fn, (2, 21) each."""
        both = np.vectorize(_both)
        tp = both(self.gold_cut, self.cuts, self.follows)
        return tp, stats.norm.sf(self.cuts) - tp, stats.norm.sf(self.gold_cut) - tp

    @property
    def known(self) -> Floats:
        """(21,): the share of records whose gold is known."""
        return np.ones(len(LABELS))

    @cached_property
    def by_record(self) -> list[dict[str, float]]:
        """The true averages over records of each variant, from a very large sample.

        They depend on how labels go together, so there is no formula; off by 0.001 or less.
        """
        rows = self.sample(_VERY_MANY, 1, np.random.default_rng(0))
        state = reduce_batches([rows], Scope.of(VARIANTS, LABELS))
        figures = [overall_figures(state.slices[ALL][name]) for name in VARIANTS]
        return [{name: found[name] for name in BY_RECORD} for found in figures]

    def sample(self, opinions: int, readers: int, rng: np.random.Generator) -> pa.RecordBatch:
        """Draw the records of so many opinions, each read by so many readers."""
        opinion = np.repeat(np.arange(opinions), readers)
        latent = _latent(opinion, opinions, rng)
        answers = {}
        for v, name in enumerate(VARIANTS):
            noise = _latent(opinion, opinions, rng)
            own = self.follows[v] * latent + np.sqrt(1 - self.follows[v] ** 2) * noise
            answers[name] = Answers((own > self.cuts[v]).astype(np.int8))
        gold = (latent > self.gold_cut).astype(np.int8)
        return batch(gold, answers, {"opinion_id": opinion.astype(str).tolist()})


def f1(tp: Floats, fp: Floats, fn: Floats) -> Floats:
    """Return F1 from shares."""
    return np.asarray(2 * tp / (2 * tp + fp + fn))


def _latent(opinion: npt.NDArray[np.int64], opinions: int, rng: np.random.Generator) -> Floats:
    """Return standard normal latents, (N, 21)."""
    common = rng.standard_normal((opinions, 1))
    own = rng.standard_normal((opinions, len(LABELS)))
    effect = np.sqrt(_SHARED) * common + np.sqrt(1 - _SHARED) * own
    rest = rng.standard_normal((len(opinion), len(LABELS)))
    return np.asarray(np.sqrt(_WITHIN) * effect[opinion] + np.sqrt(1 - _WITHIN) * rest)


def _both(gold_cut: float, cut: float, follows: float) -> float:
    """Return P(gold latent > its cut, variant's latent > its cut)."""
    return float(stats.multivariate_normal.cdf([-gold_cut, -cut], cov=[[1, follows], [follows, 1]]))


def _f1(gold_cut: float, cut: float, follows: float) -> float:
    tp = _both(gold_cut, cut, follows)
    return float(2 * tp / (stats.norm.sf(gold_cut) + stats.norm.sf(cut)))


def _biased(gold_cut: float) -> tuple[float, float]:
    """Return a low and a high cut of the same F1, somewhat below the best."""
    best = optimize.minimize_scalar(
        lambda cut: -_f1(gold_cut, cut, _FOLLOWS), bounds=(-1, 4), method="bounded"
    )
    goal = -_OFF_BEST * best.fun

    def short(cut: float) -> float:
        return _f1(gold_cut, cut, _FOLLOWS) - goal

    return (
        optimize.brentq(short, best.x - 2, best.x),
        optimize.brentq(short, best.x, best.x + 2),
    )


def _better(gold_cut: float) -> float:
    goal = _f1(gold_cut, gold_cut, _FOLLOWS) + GAIN
    return float(optimize.brentq(lambda r: _f1(gold_cut, gold_cut, r) - goal, _FOLLOWS, 0.999))
