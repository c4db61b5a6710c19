"""Speed in `metrics.json`: rates, latency and their course, from when records came back."""

import math
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from medsent.metrics.estimate import Figure, Part, over
from medsent.reducer import throughput as reduced
from medsent.reducer.throughput import LATENCY_EDGES_S, Speed
from medsent.reducer.timeline import Timeline

MOST_LATENCY_BINS: Final = 40
MOST_RATE_BINS: Final = 60

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LatencyHistogram(Part):
    """Records by latency, in at most 40 bins whose edges rise by the same factor."""

    edges_s: list[float]
    """One more than there are bins, ascending; a bin holds its lower edge."""
    records: list[int]
    """Records in each bin; what is below 0.1 ms or above 100,000 s is in the first or last."""


class RateOverTime(Part):
    """Records that came back, in at most 60 bins of wall-clock time, those of pauses included.

    All variants have the same bins; the first and the last may be partly outside the run.
    """

    width_s: float
    """Width of a bin."""
    start_s: list[float]
    """When each bin begins, from the beginning of the first."""
    records_per_s: list[float]
    """Records of this variant that finished in the bin, over its width."""


class Throughput(Part):
    """Speed of one variant, on all replicas or on one.

    `busy_s` is the time with at least one record in flight, each moment attributed to the
    variant whose records then finished, summed over replicas: rates are a replica's, not
    the cluster's. Start-up and idle time are not in it.
    """

    records: int
    """Records that came back, usable or not."""
    busy_s: float
    """Replica-seconds attributed to this variant."""
    shared_s: Figure = None
    """Of these, seconds in which other variants finished too, attributed by number of records.
    Where this is most of `busy_s`, the rates are the mixture's rather than the variant's own."""
    records_per_s: Figure
    """records / busy_s."""
    seconds_per_record: Figure
    """busy_s / records."""
    uncached_prompt_tokens: int
    """Prompt tokens computed."""
    cached_prompt_tokens: int
    """Prompt tokens taken from the prefix cache."""
    output_tokens: int
    """Tokens generated."""
    uncached_prompt_tokens_per_s: Figure
    """uncached_prompt_tokens / busy_s."""
    cached_prompt_tokens_per_s: Figure
    """cached_prompt_tokens / busy_s."""
    output_tokens_per_s: Figure
    """output_tokens / busy_s."""
    latency_p50_s: Figure
    """Median time from sending a record to its answer, waiting included; within 2%."""
    latency_p95_s: Figure
    """95th percentile of the same."""
    latency_p99_s: Figure
    """99th percentile of the same."""
    first_start: datetime | None
    """When the first record was sent (UTC)."""
    last_finish: datetime | None
    """When the last answer came (UTC)."""


class VariantThroughput(Throughput):
    """Speed of a variant, with the same for each replica."""

    replicas: dict[str, Throughput]
    """By replica, in the order of their names."""
    latency_histogram: LatencyHistogram | None = None
    """Records by latency; None where none was measured."""
    rate_over_time: RateOverTime | None = None
    """Records per second over the run, all replicas together."""


def variant_speed(timing: reduced.Throughput, variant: str) -> VariantThroughput | None:
    """Return the speed of a variant; None where nothing was timed."""
    busy = timing.busy_s()
    speeds = {
        replica: speed
        for (name, replica), speed in sorted(timing.speeds.items())
        if name == variant
    }
    if not speeds:
        return None
    total = Speed()
    for speed in speeds.values():
        total = total.merge(speed)
    seconds = [busy[variant, replica] for replica in speeds]
    return VariantThroughput(
        **dict(_rates(total, math.fsum(s for s, _ in seconds), math.fsum(s for _, s in seconds))),
        replicas={
            replica: _rates(speed, *busy[variant, replica]) for replica, speed in speeds.items()
        },
        latency_histogram=_histogram(total),
        rate_over_time=_over_time(timing.timelines.values(), timing.variants.index(variant)),
    )


def _rates(speed: Speed, busy_s: float, shared_s: float) -> Throughput:
    return Throughput(
        records=speed.records,
        busy_s=busy_s,
        shared_s=shared_s,
        records_per_s=over(speed.records, busy_s),
        seconds_per_record=over(busy_s, speed.records),
        uncached_prompt_tokens=speed.uncached_tokens,
        cached_prompt_tokens=speed.cached_tokens,
        output_tokens=speed.output_tokens,
        uncached_prompt_tokens_per_s=over(speed.uncached_tokens, busy_s),
        cached_prompt_tokens_per_s=over(speed.cached_tokens, busy_s),
        output_tokens_per_s=over(speed.output_tokens, busy_s),
        latency_p50_s=speed.latency_s(50),
        latency_p95_s=speed.latency_s(95),
        latency_p99_s=speed.latency_s(99),
        first_start=_EPOCH + timedelta(microseconds=speed.first_start_us),
        last_finish=_EPOCH + timedelta(microseconds=speed.last_finish_us),
    )


def _histogram(speed: Speed) -> LatencyHistogram | None:
    """Keep the bins from the first to the last record, joined by twos until few enough."""
    counts = speed.latencies[1:-1].copy()
    counts[0] += speed.latencies[0]
    counts[-1] += speed.latencies[-1]
    edges = LATENCY_EDGES_S
    while True:
        held = np.flatnonzero(counts)
        if not len(held):
            return None
        first, last = int(held[0]), int(held[-1]) + 1
        if last - first <= MOST_LATENCY_BINS:
            return LatencyHistogram(
                edges_s=edges[first : last + 1].tolist(), records=counts[first:last].tolist()
            )
        counts, edges = counts.reshape(-1, 2).sum(axis=1), edges[::2]


def _over_time(timelines: Collection[Timeline], variant: int) -> RateOverTime:
    """Add up the replicas' bins, whose widths are all one width times powers of two."""
    width = max(timeline.width_us for timeline in timelines)
    begin = min(int(timeline.start_us.min()) for timeline in timelines)
    end = max(timeline.last_us for timeline in timelines)
    while end // width - begin // width >= MOST_RATE_BINS:
        width *= 2
    first = begin // width
    records = np.zeros(end // width - first + 1, dtype=np.int64)
    for timeline in timelines:
        at = timeline.bins // (width // timeline.width_us) - first
        np.add.at(records, at, timeline.finished[:, variant])
    width_s = width / 1e6
    return RateOverTime(
        width_s=width_s,
        start_s=(np.arange(len(records)) * width_s).tolist(),
        records_per_s=(records / width_s).tolist(),
    )
