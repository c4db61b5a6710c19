"""What a million records cost with a variant: hours of engines, money, energy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import stats

from medsent.config.job import JobConfig
from medsent.config.price import PriceSettings
from medsent.errors import ConfigError
from medsent.metrics.estimate import Figure, Part, is_none
from medsent.metrics.statistics.intervals import ALPHA
from medsent.reducer.throughput import Throughput
from medsent.runs.log import Power

FEWEST_PIECES: Final = 10
"""Pieces of a run with records of a variant, under which its cost has no interval."""
_PIECES: Final = 20
_MILLION: Final = 1e6
_HOUR_S: Final = 3600

_Floats = npt.NDArray[np.float64]


class Amount(Part):
    """A sum of hours or money, or a difference of two, with what it varies by within the run."""

    value: float
    """At the pace of the whole run."""
    low: Figure = None
    """Lower end of its 95% interval; None where the run is too short to tell."""
    high: Figure = None
    """Upper end."""

    def times(self, factor: float) -> "Amount":
        """Return it so many times over; the factor is not negative."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Amount(value=self.value * factor, low=low, high=high)


class Cost(Part):
    """The cost of a million records, at the pace of this run while it scored.

    The engines' start, and the time in which they wait for work, are not counted. The time of an
    engine that several variants share is divided, in bins of 66 ms or more, among the variants
    whose records finished in the bin, by the tokens computed for these records. That is accurate
    where a variant's blocks go through the engine by themselves, as they mostly do. Where `shared`
    is large it is an estimate: every token counts the same, whether of a prompt or generated and
    whatever the adapter, and a long answer gets no share of the bins in which it is being written.

    An interval tells how the pace varied within this run, from 20 pieces of it or more (batch
    means). It does not tell how another day or machine would differ.
    """

    replica_hours_per_million_records: Amount
    """Hours of one engine."""
    shared: float
    """Share of these hours from bins in which other variants' records finished too."""
    gpu_hours_per_million_records: Amount | None = Field(None, exclude_if=is_none)
    """Hours of one GPU; not there without GPUs, or where their number is not known."""
    money_per_million_records: Amount
    """In the currency."""
    currency: str
    """As in the price."""
    joules_per_million_records: float | None = Field(None, exclude_if=is_none)
    """The energy of the GPUs alone, at the mean power that they had while the run scored, whichever
    variant was in work; not there where it was not measured."""


class CostChange(Part):
    """What a candidate costs more than its baseline, a million records."""

    money_per_million_records: Amount
    """candidate - baseline; the interval takes the two for independent."""
    relative: Figure
    """The same over the baseline's cost, a fraction."""
    currency: str
    """Of both."""


class Standing(Part):
    """How good a variant is beside the best one."""

    difference: Amount
    """Its macro F1 less that of the best, over the labels with enough opinions, on the records
    that both answered."""
    non_inferior: bool | None
    """Whether it is lower by no more than the margin: by the whole of the 95% interval, which is
    not corrected for how many variants there are; None where that cannot be told."""


class Cheapest(Part):
    """The variant that costs least of those that are as good as the best, by a margin."""

    best: str
    """The best variant by macro F1 over the labels with enough opinions: compared pair by pair, it
    is equal to or above the most others, whether or not by more than chance."""
    margin: float
    """How much lower macro F1 may be: `statistics.margin`."""
    beside_best: dict[str, Standing]
    """By variant, all but the best."""
    cheapest: str
    """Of the best and of those that are non-inferior to it; the best itself where none is."""


@dataclass(frozen=True)
class Rates:
    """What an engine is paid for, and what it draws."""

    price: PriceSettings
    gpus: int | None
    """GPUs of an engine; None where that is not known."""
    watts: float | None = None
    """The mean power of an engine's GPUs; None where it was not measured."""

    @classmethod
    def of(cls, config: JobConfig, powers: Sequence[Power]) -> "Rates | None":
        """Return a job's rates, by what its engines told; None for a job without a price.

        Raises `ConfigError` where GPUs are to be paid and there were none.
        """
        if config.price is None:
            return None
        gpus = max((each.gpus for each in powers), default=None)
        if config.price.per_gpu_hour is not None:
            if gpus == 0:
                raise ConfigError(
                    "price.per_gpu_hour: the run's engines had no GPU; give price.per_machine_hour"
                )
            gpus = gpus or config.model.tensor_parallel_size  # of a run of before
        measured = [(each.joules, each.seconds) for each in powers if each.joules is not None]
        seconds = math.fsum(each for _, each in measured)
        joules = math.fsum(each for each, _ in measured)
        return cls(config.price, gpus, joules / seconds if seconds else None)


def variant_cost(timing: Throughput, variant: str, rates: Rates) -> Cost | None:
    """Return what a variant costs; None where nothing of it was timed."""
    pieces = _Pieces.of(timing, timing.variants.index(variant))
    if not pieces.records.sum():
        return None
    hours = _per_million(pieces.seconds / _HOUR_S, pieces.records)
    watts, total_s = rates.watts, float(pieces.seconds.sum())
    return Cost(
        replica_hours_per_million_records=hours,
        shared=min(1.0, pieces.shared_s / total_s) if total_s else 0.0,
        gpu_hours_per_million_records=hours.times(rates.gpus) if rates.gpus else None,
        money_per_million_records=_money(pieces, hours, rates),
        currency=rates.price.currency,
        joules_per_million_records=None if watts is None else watts * hours.value * _HOUR_S,
    )


def cost_change(baseline: Cost | None, candidate: Cost | None) -> CostChange | None:
    """Return what the candidate costs more; None where one is not known, or in other money."""
    if baseline is None or candidate is None or baseline.currency != candidate.currency:
        return None
    old, new = baseline.money_per_million_records, candidate.money_per_million_records
    difference = new.value - old.value
    change = Amount(value=difference)
    if old.high is not None and new.high is not None:
        half = math.hypot(old.high - old.value, new.high - new.value)
        change = Amount(value=difference, low=difference - half, high=difference + half)
    return CostChange(
        money_per_million_records=change,
        relative=difference / old.value if old.value else None,
        currency=baseline.currency,
    )


@dataclass(frozen=True)
class _Pieces:
    """A variant's course on all replicas in P pieces, of about equal busy time on each."""

    records: _Floats
    """(P,)"""
    seconds: _Floats
    """(P,): busy, as due to the variant."""
    tokens: _Floats
    """(P, 3), by `timeline.TOKENS`."""
    shared_s: float

    @classmethod
    def of(cls, timing: Throughput, index: int) -> "_Pieces":
        each = math.ceil(_PIECES / max(1, len(timing.timelines)))
        found: list[_Floats] = [np.zeros((0, 5))]
        shared_s = 0.0
        for _, timeline in sorted(timing.timelines.items()):
            due = timeline.busy_by_tokens_s()
            mine = due[:, index]
            shared_s += float(mine[timeline.mixed].sum())
            columns = np.column_stack(
                [timeline.finished[:, index], mine, timeline.tokens[:, index]]
            )
            piece = np.zeros((each, columns.shape[1]))
            np.add.at(piece, _cut(due.sum(axis=1), each), columns)
            found.append(piece)
        every = np.concatenate(found)
        return cls(every[:, 0], every[:, 1], every[:, 2:], shared_s)


def _cut(busy_s: _Floats, number: int) -> npt.NDArray[np.int64]:
    """Return the piece of each bin (K,), from how long it was busy."""
    until = np.cumsum(busy_s)
    if not until[-1]:
        return np.zeros(len(busy_s), dtype=np.int64)
    middle = (until - busy_s / 2) / until[-1]
    return np.asarray(np.minimum(middle * number, number - 1), dtype=np.int64)


def _money(pieces: _Pieces, hours: Amount, rates: Rates) -> Amount:
    if rates.price.per_million_tokens is not None:
        spent = pieces.tokens @ np.array(rates.price.per_million_tokens.each)
        return _per_million(spent, pieces.records)
    return hours.times(rates.price.of_replica_hour(rates.gpus or 0) or 0.0)


def _per_million(spent: _Floats, records: _Floats) -> Amount:
    """Return spent over records, both (P,), with the interval of a ratio of sums over pieces."""
    used = (records > 0) | (spent > 0)
    number, total = int(used.sum()), float(records.sum())
    value = float(spent.sum()) / total
    if number < FEWEST_PIECES:
        return Amount(value=_MILLION * value)
    off = (spent - value * records)[used] / total
    t = float(stats.t.ppf(1 - ALPHA / 2, number - 1))
    half = t * math.sqrt(number / (number - 1) * float(np.square(off).sum()))
    low, high = max(0.0, value - half), value + half
    return Amount(value=_MILLION * value, low=_MILLION * low, high=_MILLION * high)
