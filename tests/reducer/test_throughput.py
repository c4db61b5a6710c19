"""Attribution of time to variants, latencies, and the laws of merging both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.config.labels import LABELS
from medsent.reducer import timeline
from medsent.reducer.state import Reduction, Scope, reduce_batches
from medsent.reducer.throughput import Speed
from medsent.reducer.timeline import BIN_US, Timeline
from tests.predicted import Answers, batch

SECOND = 1_000_000
START = 1_780_000_000 * SECOND // BIN_US * BIN_US  # a bin's edge
RESOLUTION = 10 ** (1 / 128) - 1 + 1e-9


def timed(
    finished_s: list[float | None],
    latency_s: list[float | None],
    replicas: list[str | None] | None = None,
) -> Answers:
    """Return answers that finished so many seconds after `START`."""
    rows = len(finished_s)
    return Answers(
        np.zeros((rows, len(LABELS)), dtype=np.int8),
        finished_at=[None if t is None else START + round(t * SECOND) for t in finished_s],
        latency_s=latency_s,
        replicas=replicas or ["r"] * rows,
        prompt_tokens=[100] * rows,
        cached_tokens=[90] + [None] * (rows - 1),
        output_tokens=[1] * rows,
    )


def reduced(variants: dict[str, Answers]) -> Reduction:
    rows = len(next(iter(variants.values())).labels)
    gold = np.zeros((rows, len(LABELS)), dtype=np.int8)
    return reduce_batches([batch(gold, variants)], Scope.of(list(variants), LABELS))


def busy(state: Reduction) -> dict[tuple[str, str], float]:
    return {key: due for key, (due, _) in state.throughput.busy_s().items()}


def test_seconds_go_to_the_variant_that_finished_in_them() -> None:
    # Both are sent at 0; the engine answers the one from 0 to 2 s, then the other to 10 s.
    state = reduced(
        {
            "baseline": timed([1.0, 2.0], [1.0, 2.0]),
            "candidate": timed([6.0, 10.0], [6.0, 10.0]),
        }
    )
    found = busy(state)
    # A bin ends up to 66 ms after what finished in it.
    assert found["baseline", "r"] == pytest.approx(2.0, abs=0.07)
    assert found["candidate", "r"] == pytest.approx(8.0, abs=0.07)
    assert sum(found.values()) == pytest.approx(10.0, abs=1e-9)
    assert [shared for _, shared in state.throughput.busy_s().values()] == [0, 0]


def test_a_bin_of_several_variants_is_split_by_records() -> None:
    state = reduced(
        {
            "baseline": timed([1.0, 1.0, 1.0, None], [1.0] * 4),
            "candidate": timed([1.0, None, None, None], [1.0] * 4),
        }
    )
    assert state.throughput.busy_s() == {
        ("baseline", "r"): (pytest.approx(0.75), pytest.approx(0.75)),
        ("candidate", "r"): (pytest.approx(0.25), pytest.approx(0.25)),
    }


@pytest.mark.parametrize("pause_s", [20, 3600, 10**6])
def test_a_pause_with_nothing_in_flight_costs_nothing(pause_s: int) -> None:
    # A second of work, a pause (the run was killed and resumed), another second of work.
    state = reduced({"v": timed([1.0, pause_s + 1.0], [1.0, 1.0])})
    assert busy(state)["v", "r"] == pytest.approx(2.0, abs=0.07)


def test_a_long_wait_with_a_record_in_flight_is_busy() -> None:
    # Nothing finishes between 1 and 400 s, but the last was sent before: the engine was slow.
    state = reduced({"v": timed([1.0, 400.0], [1.0, 399.5])})
    assert busy(state)["v", "r"] == pytest.approx(400.0, abs=1e-3)


def test_replicas_are_timed_apart() -> None:
    state = reduced({"v": timed([1.0, 1.0, 5.0], [1.0, 1.0, 2.0], ["a", None, "b"])})
    assert busy(state) == {
        ("v", "a"): pytest.approx(1.0),
        ("v", "none"): pytest.approx(1.0),
        ("v", "b"): pytest.approx(2.0),
    }


def test_tokens_and_rows_that_never_finished() -> None:
    state = reduced({"v": timed([1.0, 2.0, None], [1.0, None, 1.0])})
    speed = state.throughput.speeds["v", "r"]
    assert (speed.records, speed.output_tokens) == (2, 2)
    assert (speed.uncached_tokens, speed.cached_tokens) == (10 + 100, 90)
    assert int(speed.latencies.sum()) == 1  # the second has no latency
    assert (speed.first_start_us, speed.last_finish_us) == (START, START + 2 * SECOND)


def test_nothing_timed_has_no_latency() -> None:
    assert Speed().latency_s(50) is None
    assert reduced({"v": timed([None], [1.0])}).throughput.speeds == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(2**-12, 2**16, width=32), min_size=1, max_size=120),
    st.sampled_from([50, 95, 99]),
)
def test_quantiles_are_within_the_resolution(latency_s: list[float], percent: int) -> None:
    state = reduced({"v": timed([1.0] * len(latency_s), latency_s)})
    exact = next(
        taken
        for rank, taken in enumerate(sorted(latency_s), start=1)
        if 100 * rank >= percent * len(latency_s)
    )
    found = state.throughput.speeds["v", "r"].latency_s(percent)
    assert found == pytest.approx(exact, rel=RESOLUTION)


@pytest.mark.parametrize(("latency_s", "shown"), [(0.0, 1e-4), (-1.0, 1e-4), (1e6, 1e5)])
def test_latencies_outside_the_buckets_stay_at_their_ends(latency_s: float, shown: float) -> None:
    state = reduced({"v": timed([1.0], [latency_s])})
    assert state.throughput.speeds["v", "r"].latency_s(50) == pytest.approx(shown)


TOKENS = np.array([[30, 70, 1]])
"""Of one record."""
RECORDS = st.lists(
    st.tuples(st.integers(0, 50 * BIN_US), st.integers(0, 9 * SECOND), st.integers(0, 1)),
    min_size=2,
    max_size=60,
)


def of_records(records: list[tuple[int, int, int]]) -> Timeline:
    parts = [
        Timeline.of(np.array([end - taken]), np.array([end]), TOKENS, variant, 2)
        for end, taken, variant in records
    ]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    return merged


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False), st.data())
def test_a_coarsened_timeline_does_not_depend_on_the_order(records, rng, data) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "MAX_BINS", 5)
        whole = of_records(records)
        mixed = records[:]
        rng.shuffle(mixed)
        cut = data.draw(st.integers(1, len(records) - 1))
        assert of_records(mixed) == whole
        assert of_records(mixed[:cut]).merge(of_records(mixed[cut:])) == whole
    assert len(whole.bins) <= 5
    assert whole.finished.sum() == len(records)
    # No narrower bins would have fitted.
    if whole.width_us > BIN_US:
        assert len({end // (whole.width_us // 2) for end, _, _ in records}) > 5


@settings(max_examples=60, deadline=None)
@given(RECORDS)
def test_busy_time_is_when_records_were_in_flight(records) -> None:
    due, shared = of_records(records).busy_s()
    ends = np.array([end for end, _, _ in records])
    starts = ends - np.array([taken for _, taken, _ in records])
    # Union of the intervals, by the millisecond.
    ticks = np.arange(starts.min(), ends.max(), 1000)
    in_flight = ((starts <= ticks[:, None]) & (ticks[:, None] < ends)).any(axis=1).sum() / 1000
    bins = len(set(ends // BIN_US))
    assert in_flight - 0.01 <= due.sum() <= in_flight + bins * BIN_US / SECOND + 0.01
    assert (shared <= due + 1e-9).all()
