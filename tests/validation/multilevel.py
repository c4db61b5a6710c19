"""A second population, less kind: few opinions have most of the records, and gold has gaps.

A multilevel logistic model. An opinion's number of records is drawn from a Pareto distribution
(most have one, some 40), each read by one of 16 personas, of which some read far more than
others. Gold depends on the opinion, the label and the persona. A variant is wrong at its own
rates, which differ between opinions. Gold is missing at random, and more often where the label is
absent; some answers of the candidate cannot be used. Given gold, effects of gold and of errors
are independent, so that true rates are exact.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from medsent.config.labels import LABELS
from medsent.metrics.statistics.metrics import overall_figures
from medsent.predictions import AnswerStatus
from medsent.reducer.counts import Ints, Matrix
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, batch
from tests.validation.population import BY_RECORD, GAIN, MARGIN, VARIANTS, Floats, Scenario

PREVALENCE: Final = np.geomspace(0.01, 0.4, len(LABELS))
READERS: Final = 16

_F1: Final = np.linspace(0.5, 0.75, len(LABELS))
_SHAPE: Final = 1.3
_MOST_RECORDS: Final = 40
_SHARED_SD: Final = 0.6
"""Of an opinion's effect on all its labels, in log odds, as the others."""
_OWN_SD: Final = 1.0
"""Of an opinion's effect on one label."""
_READER_SD: Final = 0.5
_ERROR_SD: Final = 1.0
"""Of an opinion's effect on a variant's errors at one label."""
_KNOWN: Final = (0.80, 0.92)
"""Shares of records whose gold is known, where the label is absent and where it is there."""
_UNUSABLE: Final = 0.021
_REDRAWN: Final = 0.04
"""Of the cells, where variants are nearly identical: those the candidate answers anew."""
_VERY_MANY: Final = 100_000

_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, eq=False)
class Multilevel:
    """21 labels and two variants; arrays are (21,), (2, 21) or (16, 21)."""

    scenario: Scenario
    found: Floats
    """(2, 21): of the records with the label, the share given it."""
    false: Floats
    """(2, 21): of the others."""
    readers: Floats
    """(16,): how often each persona reads."""
    tastes: Floats
    """(16, 21): what each persona adds to the log odds."""
    intercepts: Floats
    """(21,): log odds of gold."""

    @classmethod
    @cache
    def of(cls, scenario: Scenario) -> "Multilevel":
        """Equal variants, nearly identical ones, equal F1 by opposite biases, or an unequal one.

        That is better by `GAIN`, worse by `MARGIN`, or the same but for labels that it has lost
        (damaged): all of an opinion's right ones at once, so that F1 is lower by `MARGIN`.
        """
        f1 = np.tile(_F1, (2, 1))
        found = f1.copy()
        if scenario == "biases":
            least = _F1 / (2 - _F1)  # with fewer found, not even full precision gives this F1
            found = np.stack([_F1 + 0.6 * (1 - _F1), least + 0.25 * (_F1 - least)])
        if scenario == "better":
            f1[1] += GAIN
            found[1] += GAIN
        if scenario == "worse":
            f1[1] -= MARGIN
            found[1] -= MARGIN
        real = PREVALENCE * _KNOWN[1]  # F1 is that of the records whose gold is known
        given = real * (2 * found / f1 - 1)
        false = (given - real * found) / ((1 - PREVALENCE) * _KNOWN[0])
        if scenario == "damaged":
            found[1] *= 1 - _lost(f1[0], found[0])
        rng = np.random.default_rng(0)
        readers = np.geomspace(1, 12, READERS)
        tastes = rng.normal(0, _READER_SD, (READERS, len(LABELS)))
        sd = np.hypot(_SHARED_SD, _OWN_SD)
        intercepts = _solved(PREVALENCE, sd, tastes, readers / readers.sum())
        return cls(scenario, found, false, readers / readers.sum(), tastes, intercepts)

    @cached_property
    def shares(self) -> tuple[Floats, Floats, Floats]:
        """The true shares of tp, fp and fn among all records, (2, 21) each."""
        real = PREVALENCE * _KNOWN[1]
        absent = (1 - PREVALENCE) * _KNOWN[0]
        return real * self.found, absent * self.false, real * (1 - self.found)

    def moved(self, label: int, by: float) -> "Multilevel":
        """Return a population where so many more of all records are given a label."""
        false = self.false.copy()
        false[:, label] += by / (1 - PREVALENCE[label])
        return replace(self, false=false)

    @property
    def known(self) -> Floats:
        """(21,): the share of records whose gold is known."""
        return PREVALENCE * _KNOWN[1] + (1 - PREVALENCE) * _KNOWN[0]

    @cached_property
    def by_record(self) -> list[dict[str, float]]:
        """The true averages over records of each variant, from a very large sample."""
        rows = self.sample(_VERY_MANY, 0, np.random.default_rng(0))
        state = reduce_batches([rows], Scope.of(VARIANTS, LABELS))
        figures = [overall_figures(state.slices[ALL][name]) for name in VARIANTS]
        return [{name: found[name] for name in BY_RECORD} for found in figures]

    def sample(
        self,
        opinions: int,
        readers: int,
        rng: np.random.Generator,
        unusable: float = _UNUSABLE,
    ) -> pa.RecordBatch:
        """Draw the records of so many opinions; with 0 readers each has as many as come with it."""
        gold, given, opinion, _ = self.draw(opinions, readers, rng)
        there = rng.random(gold.shape) < np.where(gold == 1, _KNOWN[1], _KNOWN[0])
        lost = rng.random(len(gold)) < unusable
        statuses = np.where(lost, AnswerStatus.TRUNCATED, AnswerStatus.OK).tolist()
        answers = {"baseline": Answers(given[0]), "candidate": Answers(given[1], statuses)}
        ids = {"opinion_id": opinion.astype(str).tolist()}
        return batch(np.where(there, gold, -1).astype(np.int8), answers, ids)

    def draw(
        self, opinions: int, readers: int, rng: np.random.Generator
    ) -> tuple[Matrix, list[Matrix], Ints, Ints]:
        """Return gold and each variant's labels, (N, 21); each record's opinion and persona."""
        tail = np.minimum(np.floor(rng.pareto(_SHAPE, opinions) + 1), _MOST_RECORDS)
        sizes = np.full(opinions, readers) if readers else tail.astype(np.int64)
        opinion = np.repeat(np.arange(opinions), sizes)
        reader = rng.choice(READERS, len(opinion), p=self.readers)
        labels = (opinions, len(LABELS))
        own = _SHARED_SD * rng.standard_normal((opinions, 1))
        own = own + _OWN_SD * rng.standard_normal(labels)
        chance = special.expit(self.intercepts + own[opinion] + self.tastes[reader])
        gold = rng.random(chance.shape) < chance
        given = [self._answer(v, gold, opinion, opinions, rng) for v in range(2)]
        if self.scenario == "alike":
            anew = rng.random(gold.shape) < _REDRAWN
            given[1] = np.where(anew, given[1], given[0])
        if self.scenario == "damaged":
            lost = rng.random(labels) < 1 - self.found[1] / self.found[0]
            given[1] = given[0] & ~(gold & lost[opinion])
        return gold.astype(np.int8), [each.astype(np.int8) for each in given], opinion, reader

    def _answer(
        self,
        variant: int,
        gold: npt.NDArray[np.bool_],
        opinion: Ints,
        opinions: int,
        rng: np.random.Generator,
    ) -> npt.NDArray[np.bool_]:
        effect = _ERROR_SD * rng.standard_normal((opinions, len(LABELS)))
        missed, wrong = self._cuts
        odds = np.where(gold, missed[variant], wrong[variant]) + effect[opinion]
        return np.asarray(rng.random(gold.shape) < special.expit(odds))

    @cached_property
    def _cuts(self) -> tuple[Floats, Floats]:
        """Log odds of giving the label, where it is there and where it is not, (2, 21) each."""
        none, alone = np.zeros((1, len(LABELS))), np.ones(1)
        found = np.stack([_solved(share, _ERROR_SD, none, alone) for share in self.found])
        false = np.stack([_solved(share, _ERROR_SD, none, alone) for share in self.false])
        return found, false


def _lost(f1: Floats, found: Floats) -> Floats:
    """Return the share of the right labels, (21,), without which F1 is lower by `MARGIN`.

    Of each record with the label a variant finds `found`; with all that it gives beside these
    that is 2 found / f1. F1 without a share s of the right ones is 2 found (1 - s) over that
    less s found.
    """
    whole, goal = 2 * found / f1, f1 - MARGIN
    return np.asarray((2 * found - goal * whole) / (found * (2 - goal)))


def _solved(shares: Floats, sd: float, tastes: Floats, readers: Floats) -> Floats:
    """Return the log odds, (21,), at which the mean probability is `shares`, by bisection."""
    low, high = np.full(len(shares), -20.0), np.full(len(shares), 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        odds = middle + tastes[:, None] + sd * _POINTS[None, :, None]
        mean = np.einsum("r,p,rpl->l", readers, _WEIGHTS, special.expit(odds))
        low, high = np.where(mean < shares, middle, low), np.where(mean < shares, high, middle)
    return np.asarray((low + high) / 2)
