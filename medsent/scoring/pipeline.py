"""The whole way: shards -> records -> prompts -> engine -> predictions."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from medsent.config.engine import ScriptedSettings, VllmSettings
from medsent.console import native_lines_dropped
from medsent.errors import StoppedError
from medsent.input.shard import BadShard
from medsent.runs.blocks import Piece
from medsent.runs.folder import RunFolder
from medsent.runs.log import Power
from medsent.scoring import pool
from medsent.scoring.cluster import connect, scorer_resources
from medsent.scoring.failures import failure
from medsent.scoring.monitor import Monitor, Status
from medsent.scoring.plan import Plan
from medsent.scoring.scorer import Scorer
from medsent.scoring.source import BlockSource
from medsent.scoring.stop import Stop

Watch = Callable[[Status], None]

_MOST_BLOCKS_IN_FLIGHT = 32
"""The most blocks that one engine gets at a time. Each is a call to its actor, which costs
milliseconds whatever its size, and holds records that another engine could take. If this limits
an engine, raise `engine.rows_per_block`."""
_MONITOR_S = 10.0
_GRACE_S = 20.0
"""How long a job that is to end may take over it; Kubernetes kills after 30 s."""


@dataclass(frozen=True)
class Session:
    """How one stretch of scoring went."""

    start_up_s: float
    """The slowest engine's start."""
    total_s: float
    records: int
    quarantined: tuple[BadShard, ...]
    """Shards that could not be read on."""
    power: dict[str, Power]
    """Replica to what its GPUs drew."""


def score(plan: Plan, run: RunFolder, pieces: Sequence[Piece], watch: Watch, stop: Stop) -> Session:
    """Score the blocks of the plan that have no file in the run yet.

    `watch` is called about once a second with the state. Where `stop` is asked, what is
    in flight is finished and written, and the call returns early. Raises the
    `MedsentError` that an actor met, or `EngineError`; what was written before stays, and
    the same call resumes.
    """
    started = time.monotonic()
    with native_lines_dropped():
        connect(plan.config)
        growth = pool.Growth(plan)
        _prepare_context(growth)
        monitor = _monitor(plan)
        with stop.on_sigterm(), _Watching(monitor, growth, watch, stop):
            try:
                for _ in _dataset(plan, run, pieces, monitor).iter_internal_ref_bundles():
                    pass  # receipts: the scorers have written what they tell of
            except StoppedError:
                raise
            except Exception as error:
                raise failure(error, _status(monitor), run) from error
            finally:
                monitor.drain.remote()  # a scorer that waits to start again ends too
        status = _status(monitor)
    return Session(
        max(status.starts_s.values(), default=0.0),
        time.monotonic() - started,
        status.records,
        tuple(status.quarantined.values()),
        status.power,
    )


def _dataset(plan: Plan, run: RunFolder, pieces: Sequence[Piece], monitor: Any) -> ray.data.Dataset:
    """shards -> records -> blocks -> predictions; the scorer holds prompts and engine."""
    resources = scorer_resources(plan.config)
    in_flight = blocks_in_flight(
        plan.config.engine, "num_gpus" in resources, plan.records_per_block
    )
    blocks: ray.data.Dataset = ray.data.read_datasource(BlockSource(plan, run, monitor, pieces))
    return blocks.map_batches(
        Scorer,
        fn_constructor_args=(plan.for_worker(), run, monitor),
        batch_size=1,
        batch_format="pyarrow",
        compute=pool.strategy(plan, in_flight),
        **resources,
    )


def blocks_in_flight(
    engine: VllmSettings | ScriptedSettings, on_gpu: bool, records_per_block: int
) -> int:
    """Return how many blocks of so many records an engine gets at a time.

    While one of them is being finished, the others keep as many records waiting as the
    engine works on at a time, so that it never starves.
    """
    waiting = math.ceil(engine.sequences(on_gpu) / records_per_block)
    return min(1 + waiting, _MOST_BLOCKS_IN_FLIGHT)


def _monitor(plan: Plan) -> Any:
    """Start the monitor beside the driver: another node may go at any time."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    monitor = Monitor.options(scheduling_strategy=here)  # type: ignore[attr-defined]
    return monitor.remote(plan.config.engine.replicas.max)


def _status(monitor: Any) -> Status:
    """Ask the monitor; where even that fails, Ray itself is gone and nothing is known."""
    try:
        status: Status = ray.get(monitor.status.remote(), timeout=_MONITOR_S)
    except ray.exceptions.RayError:
        return Status()
    return status


def _prepare_context(growth: pool.Growth) -> None:
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # each row that is read, a packed block, goes out by itself
    context.enable_progress_bars = False
    growth.rule(context)
    context.execution_options.preserve_order = False
    for handler in logging.getLogger("ray.data").handlers:
        if "File" not in type(handler).__name__:
            handler.setLevel(logging.CRITICAL)


class _Watching:
    """Shows the monitor's state about once a second, and passes a wish to stop on to it."""

    def __init__(self, monitor: Any, growth: pool.Growth, watch: Watch, stop: Stop) -> None:
        self._monitor, self._growth = monitor, growth
        self._watch, self._stop = watch, stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._deadline: float | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._show()

    def _loop(self) -> None:
        while not self._over.wait(1.0):
            self._show()
            if self._stop.reason is not None:
                self._end(self._stop.reason)

    def _show(self) -> None:
        status = _status(self._monitor)
        if note := self._growth.look(status):
            self._monitor.note.remote(note)  # shown the next time, in its place among the others
        with suppress(OSError):  # a full disk or a closed pipe here must not end the job
            self._watch(status)

    def _end(self, reason: str) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + _GRACE_S
            self._monitor.drain.remote()
        elif time.monotonic() > self._deadline:
            self._deadline = float("inf")
            self._stop.force(reason)
