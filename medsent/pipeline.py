"""The whole way: shards -> records -> prompts -> engine -> predictions."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
from ray.data.checkpoint import CheckpointConfig

from medsent import errors
from medsent.cluster import connect, scorer_resources
from medsent.errors import EngineError, MedsentError
from medsent.plan import Plan
from medsent.quiet import native_lines_dropped
from medsent.records import RecordReader
from medsent.run import RunFolder
from medsent.scorer import Scorer
from medsent.tally import Standing, Tally

Watch = Callable[[Standing], None]

_BLOCKS_IN_FLIGHT = 2  # the next block's requests wait in the engine while one is answered


@dataclass(frozen=True)
class Sitting:
    """How one stretch of scoring went."""

    start_up_s: float
    """The slowest engine's start."""
    total_s: float
    records: int


def score(plan: Plan, run: RunFolder, watch: Watch) -> Sitting:
    """Score every record of the plan that the run's checkpoint does not hold yet.

    `watch` is called about once a second with the state. Raises the `MedsentError` that
    an actor met, or `EngineError`; what was written before stays, and the same call resumes.
    """
    started = time.monotonic()
    with native_lines_dropped():
        connect(plan.config)
        _prepare_context(run)
        tally = Tally.remote()  # type: ignore[attr-defined]
        with _Watching(tally, watch):
            try:
                _dataset(plan, tally).write_parquet(str(run.predictions))
            except Exception as error:
                raise _reason(ray.get(tally.standing.remote()), error) from error
        standing: Standing = ray.get(tally.standing.remote())
    return Sitting(
        max(standing.starts_s.values(), default=0.0), time.monotonic() - started, standing.records
    )


def _dataset(plan: Plan, tally: Any) -> ray.data.Dataset:
    """shards -> records -> blocks -> predictions; the scorer holds prompts and engine."""
    shards, engine = plan.shards, plan.config.engine
    rows = ray.data.read_parquet(
        [file.path for file in shards.files],
        filesystem=shards.filesystem,
        columns=sorted({*shards.columns.values(), *(field.name for field in shards.kept)}),
        include_paths=True,
        include_row_hash=True,
        partitioning=None,
    )
    records = rows.map_batches(RecordReader(shards, plan.personas), batch_format="pyarrow")
    # Without blocks of a known size the whole input is one, and nothing is saved before its end.
    blocks = records.repartition(target_num_rows_per_block=engine.rows_per_block)
    return blocks.map_batches(
        Scorer,
        fn_constructor_args=(plan, tally),
        batch_size=engine.rows_per_block,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=engine.replicas.min,
            max_size=engine.replicas.max,
            max_tasks_in_flight_per_actor=_BLOCKS_IN_FLIGHT,
            max_concurrent_calls_per_actor=_BLOCKS_IN_FLIGHT,
        ),
        **scorer_resources(plan.config),
    )


def _prepare_context(run: RunFolder) -> None:
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="row_hash",
        checkpoint_path=str(run.checkpoint),
        delete_checkpoint_on_success=False,
    )
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = 2
    context.execution_options.preserve_order = False
    for handler in logging.getLogger("ray.data").handlers:
        if "File" not in type(handler).__name__:
            handler.setLevel(logging.CRITICAL)


class _Watching:
    """Calls `watch` with the tally's state, about once a second, on a thread of its own."""

    def __init__(self, tally: Any, watch: Watch) -> None:
        self._tally, self._watch = tally, watch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(1.0):
            self._watch(ray.get(self._tally.standing.remote()))


def _reason(standing: Standing, error: Exception) -> MedsentError:
    """Return the error an actor reported, or a general one; never a library's text."""
    if standing.failure is None:
        return EngineError(
            f"scoring stopped ({type(error).__name__}); what was written stays, and the same "
            "command goes on from there. Ray's own logs tell more"
        )
    kind, message = standing.failure
    made: MedsentError = getattr(errors, kind, MedsentError)(message)
    return made
