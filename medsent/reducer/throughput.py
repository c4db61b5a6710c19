"""Speed of each variant on each replica, from when its records were sent and came back."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.reducer.counts import Ints
from medsent.reducer.equality import ByFields, put
from medsent.reducer.timeline import Timeline

NO_REPLICA: Final = "none"
_TOKENS: Final = ("prompt_tokens", "cached_tokens", "output_tokens")
_READ: Final = ("replica", "finished_at", "latency_s", *_TOKENS)

# 64 buckets a decade from 0.1 ms to 100,000 s, and one at each end for what lies outside.
# A quantile is its bucket's geometric middle, so it is off by 10^(1/128) - 1 = 1.8% at most.
_PER_DECADE: Final = 64
LATENCY_EDGES_S: Final = 10.0 ** (np.arange(9 * _PER_DECADE + 1) / _PER_DECADE - 4)
_MIDDLES = np.concatenate(
    [
        LATENCY_EDGES_S[:1],
        np.sqrt(LATENCY_EDGES_S[:-1] * LATENCY_EDGES_S[1:]),
        LATENCY_EDGES_S[-1:],
    ]
)


@dataclass(eq=False)
class Speed(ByFields):
    """What came back from one variant on one replica; times in microseconds since 1970."""

    records: int = 0
    uncached_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    latencies: Ints = field(default_factory=lambda: np.zeros(len(_MIDDLES), np.int64))
    """(578,): records by bucket of latency; those without a latency are in none."""
    first_start_us: int = np.iinfo(np.int64).max
    last_finish_us: int = np.iinfo(np.int64).min

    def merge(self, other: "Speed") -> "Speed":
        """Return what came back in both."""
        return Speed(
            self.records + other.records,
            self.uncached_tokens + other.uncached_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.latencies + other.latencies,
            min(self.first_start_us, other.first_start_us),
            max(self.last_finish_us, other.last_finish_us),
        )

    def latency_s(self, percent: int) -> float | None:
        """Return the latency within which this share of records came back, to 1.8%."""
        total = int(self.latencies.sum())
        if not total:
            return None
        rank = max(1, -(-percent * total // 100))
        return float(_MIDDLES[np.searchsorted(np.cumsum(self.latencies), rank)])


@dataclass
class Throughput:
    """Mergeable timing of all variants; its size grows with replicas, not with rows.

    The variants of a batch are sent one after the other to one engine that serves first
    come first, so nearly every moment belongs to one variant, and records over attributed
    seconds is the variant's own speed in the engine it shares. See `Timeline.busy_s`.
    """

    variants: tuple[str, ...]
    speeds: dict[tuple[str, str], Speed] = field(default_factory=dict)
    """By variant and replica."""
    timelines: dict[str, Timeline] = field(default_factory=dict)
    """By replica."""

    def add(self, variant: str, column: pa.StructArray) -> None:
        """Count a variant's column of predictions; rows without `finished_at` are not timed."""
        rows = pa.record_batch({name: pc.struct_field(column, name) for name in _READ})
        rows = rows.filter(rows["finished_at"].is_valid())
        replicas = pc.fill_null(rows["replica"], NO_REPLICA)
        for replica in replicas.unique().to_pylist():
            mine = rows.filter(pc.equal(replicas, replica))
            speed, timeline = _timed(mine, self.variants.index(variant), len(self.variants))
            put(self.speeds, (variant, replica), speed)
            put(self.timelines, replica, timeline)

    def merge(self, other: "Throughput") -> "Throughput":
        """Return the timing of both."""
        merged = Throughput(self.variants, dict(self.speeds), dict(self.timelines))
        for key, speed in other.speeds.items():
            put(merged.speeds, key, speed)
        for replica, timeline in other.timelines.items():
            put(merged.timelines, replica, timeline)
        return merged

    def busy_s(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return, by variant and replica, the attributed seconds and how many are shared."""
        found = {}
        for replica, timeline in self.timelines.items():
            due, shared = timeline.busy_s()
            for index, variant in enumerate(self.variants):
                if (variant, replica) in self.speeds:
                    found[variant, replica] = (float(due[index]), float(shared[index]))
        return found


def _timed(rows: pa.RecordBatch, variant: int, variants: int) -> tuple[Speed, Timeline]:
    """Return the timing of N >= 1 rows of one variant on one replica, all with `finished_at`."""
    finish_us = np.asarray(pc.cast(rows["finished_at"], pa.int64()))
    latency_s = np.asarray(pc.fill_null(rows["latency_s"], float("nan")), dtype=np.float64)
    taken_us = np.rint(np.maximum(np.nan_to_num(latency_s), 0) * 1e6).astype(np.int64)
    start_us = finish_us - taken_us
    tokens = np.column_stack(
        [np.asarray(pc.fill_null(rows[name], 0), dtype=np.int64) for name in _TOKENS]
    )
    tokens[:, 0] -= tokens[:, 1]  # of the prompt, those that were computed
    uncached, cached, output = tokens.sum(axis=0).tolist()
    measured = latency_s[~np.isnan(latency_s)]
    bucket = np.searchsorted(LATENCY_EDGES_S, measured, side="right")
    speed = Speed(
        len(rows),
        uncached,
        cached,
        output,
        np.bincount(bucket, minlength=len(_MIDDLES)).astype(np.int64, copy=False),
        int(start_us.min()),
        int(finish_us.max()),
    )
    return speed, Timeline.of(start_us, finish_us, tokens, variant, variants)
