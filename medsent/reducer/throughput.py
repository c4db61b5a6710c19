"""Speed of each variant on each replica, from when its records were sent and came back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.reducer.counts import Ints
from medsent.reducer.equality import ByFields
from medsent.reducer.timeline import Timeline

NO_REPLICA: Final = "none"

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


def _no_latencies() -> Ints:
    return np.zeros(len(_MIDDLES), dtype=np.int64)


@dataclass(eq=False)
class Speed(ByFields):
    """What came back from one variant on one replica; times in microseconds since 1970."""

    records: int = 0
    uncached_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    latencies: Ints = field(default_factory=_no_latencies)
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
        answers = _Answers.read(column)
        for index, replica in enumerate(answers.replicas):
            mine = answers.of(index)
            self._put(variant, replica, mine.speed(), self._timeline(variant, mine))

    def merge(self, other: "Throughput") -> "Throughput":
        """Return the timing of both."""
        merged = Throughput(self.variants, dict(self.speeds), dict(self.timelines))
        for key, speed in other.speeds.items():
            merged.speeds[key] = merged.speeds.get(key, Speed()).merge(speed)
        for replica, timeline in other.timelines.items():
            mine = merged.timelines.get(replica)
            merged.timelines[replica] = mine.merge(timeline) if mine else timeline
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

    def _timeline(self, variant: str, answers: "_Answers") -> Timeline:
        tokens = np.column_stack([answers.uncached, answers.cached, answers.output])
        at, variants = self.variants.index(variant), len(self.variants)
        return Timeline.of(answers.start_us, answers.finish_us, tokens, at, variants)

    def _put(self, variant: str, replica: str, speed: Speed, timeline: Timeline) -> None:
        key = (variant, replica)
        self.speeds[key] = self.speeds.get(key, Speed()).merge(speed)
        mine = self.timelines.get(replica)
        self.timelines[replica] = mine.merge(timeline) if mine else timeline


@dataclass(frozen=True)
class _Answers:
    """Columns of timed answers, each (N,); times in microseconds."""

    replicas: Sequence[str]
    replica: Ints
    start_us: Ints
    finish_us: Ints
    latency_s: npt.NDArray[np.float64]
    uncached: Ints
    cached: Ints
    output: Ints

    @classmethod
    def read(cls, column: pa.StructArray) -> "_Answers":
        finished = pc.struct_field(column, "finished_at")
        timed = pc.is_valid(finished)
        replica = pc.fill_null(pc.struct_field(column, "replica").filter(timed), NO_REPLICA)
        encoded = pc.dictionary_encode(replica)
        finish = np.asarray(pc.cast(finished.filter(timed), pa.int64()))
        latency = _numbers(column, "latency_s", timed, float("nan"))
        taken = np.rint(np.maximum(np.nan_to_num(latency), 0) * 1e6).astype(np.int64)
        prompt, cached, output = (
            _numbers(column, name, timed, 0).astype(np.int64)
            for name in ("prompt_tokens", "cached_tokens", "output_tokens")
        )
        return cls(
            encoded.dictionary.to_pylist(),
            np.asarray(encoded.indices, dtype=np.int64),
            finish - taken,
            finish,
            latency,
            prompt - cached,
            cached,
            output,
        )

    def of(self, replica: int) -> "_Answers":
        """Return the answers of one replica."""
        at = self.replica == replica
        return _Answers(
            self.replicas,
            self.replica[at],
            self.start_us[at],
            self.finish_us[at],
            self.latency_s[at],
            self.uncached[at],
            self.cached[at],
            self.output[at],
        )

    def speed(self) -> Speed:
        measured = self.latency_s[~np.isnan(self.latency_s)]
        bucket = np.searchsorted(LATENCY_EDGES_S, measured, side="right")
        return Speed(
            len(self.finish_us),
            int(self.uncached.sum()),
            int(self.cached.sum()),
            int(self.output.sum()),
            np.bincount(bucket, minlength=len(_MIDDLES)).astype(np.int64, copy=False),
            int(self.start_us.min()),
            int(self.finish_us.max()),
        )


def _numbers(
    column: pa.StructArray, name: str, timed: pa.BooleanArray, null: float
) -> npt.NDArray[np.float64]:
    values = pc.struct_field(column, name).filter(timed)
    return np.asarray(pc.fill_null(values, null), dtype=np.float64)
