"""What the plots of speed are drawn from: few bins that hold every record."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.config.labels import LABELS
from medsent.metrics.throughput import (
    MOST_LATENCY_BINS,
    MOST_RATE_BINS,
    VariantThroughput,
    variant_speed,
)
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.plots.speed import clock
from tests.predicted import Answers, batch

START_US = 1_795_000_000_123_456


def speed(
    finished_s: npt.NDArray[np.float64],
    latency_s: npt.NDArray[np.float64] | None = None,
    replicas: int = 1,
) -> VariantThroughput:
    """Return the speed of records that finished when said, each replica in a batch of its own."""
    rows = len(finished_s)
    batches = [
        batch(
            np.ones((len(mine), 21), dtype=np.int8),
            {
                "v": Answers(
                    np.ones((len(mine), 21), dtype=np.int8),
                    finished_at=(START_US + (1e6 * finished_s[mine]).astype(np.int64)).tolist(),
                    latency_s=None if latency_s is None else latency_s[mine].tolist(),
                    replicas=[f"replica-{replica}"] * len(mine),
                )
            },
        )
        for replica in range(replicas)
        if len(mine := np.arange(replica, rows, replicas))
    ]
    found = variant_speed(reduce_batches(batches, Scope.of(["v"], LABELS)).throughput, "v")
    assert found is not None
    return found


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 300),
    span_s=st.floats(0.001, 1e6),
    spread=st.floats(0, 12),
    replicas=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_every_record_is_in_one_bin(
    rows: int, span_s: float, spread: float, replicas: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    latency_s = 10 ** rng.normal(0, spread / 3, rows).clip(-6, 6)
    found = speed(rng.random(rows) * span_s, latency_s, replicas)
    histogram, course = found.latency_histogram, found.rate_over_time
    assert histogram is not None
    assert course is not None
    assert sum(histogram.records) == rows
    assert len(histogram.edges_s) == len(histogram.records) + 1 <= MOST_LATENCY_BINS + 1
    assert min(histogram.records[0], histogram.records[-1]) > 0
    assert np.allclose(np.diff(np.log(histogram.edges_s), 2), 0)
    assert len(course.start_s) == len(course.records_per_s) <= MOST_RATE_BINS
    assert sum(course.records_per_s) * course.width_s == pytest.approx(rows)
    assert np.allclose(np.diff(course.start_s), course.width_s)
    assert course.start_s[0] == 0


def test_a_median_lies_in_the_bins_that_hold_half() -> None:
    rng = np.random.default_rng(4)
    found = speed(rng.random(999), rng.gamma(4, 1, 999))
    assert found.latency_histogram is not None
    below = np.cumsum([0, *found.latency_histogram.records])
    middle = int(np.searchsorted(below, 500))
    edges = found.latency_histogram.edges_s
    assert found.latency_p50_s is not None
    assert edges[middle - 1] <= found.latency_p50_s <= edges[middle]


def test_a_pause_is_a_gap_and_a_steady_rate_is_level() -> None:
    finished = np.concatenate([np.arange(0, 20, 0.01), np.arange(60, 80, 0.01)])
    found = speed(finished, np.full(len(finished), 0.01), replicas=2).rate_over_time
    assert found is not None
    start = np.array(found.start_s)
    rates = np.array(found.records_per_s)
    assert not rates[(start > 22) & (start < 56)].any()
    assert rates[(start > 2) & (start < 17)] == pytest.approx(100, rel=0.02)


def test_without_a_latency_there_is_a_rate_alone() -> None:
    found = speed(np.arange(10.0))
    assert found.latency_histogram is None
    assert found.rate_over_time is not None


@pytest.mark.parametrize(
    ("duration", "step", "shown"),
    [
        (0, 10, "0"),
        (70, 10, "70 s"),
        (120, 60, "2 min"),
        (5400, 1800, "90 min"),
        (7200, 3600, "2 h"),
        (172800, 86400, "2 d"),
        (0.5, None, "500 ms"),
        (0.0001, None, "0.1 ms"),
        (20, None, "20 s"),
    ],
)
def test_times_on_an_axis(duration: float, step: float | None, shown: str) -> None:
    assert clock(duration, step) == shown
