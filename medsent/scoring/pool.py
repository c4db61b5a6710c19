"""The pool of engines: asked for at once, never made smaller, and why it is not larger."""

import math
import time
from contextlib import suppress
from typing import Any

import ray
import ray.data
from ray.data._internal.actor_autoscaler import ActorPoolScalingRequest
from ray.data._internal.execution.execution_callback import ExecutionCallback

from medsent.engine.events import EventKind
from medsent.scoring.cluster import engines_asked, engines_held, why_no_more
from medsent.scoring.monitor import EngineEvent, Status
from medsent.scoring.plan import Plan

_FAILED_STARTS = 2  # of each engine; one more in a row ends the job
_NEVER_UP, _NEVER_DOWN = 1e9, -1.0
_SETTLED_S = 30.0
"""A pool that stays so long below what there is room for does not grow, and is told of."""


def strategy(plan: Plan, in_flight: int) -> ray.data.ActorPoolStrategy:
    """Return the pool's bounds, for engines that are kept busy by so many blocks at a time.

    What the cluster can take is asked for at the start.
    """
    most = most_engines(plan)
    if most > 1:  # the first engines must leave blocks for those that start later
        in_flight = min(in_flight, max(2, math.ceil(_blocks(plan) / most)))
    return ray.data.ActorPoolStrategy(
        min_size=plan.config.engine.replicas.min,
        max_size=most,
        initial_size=min(engines_asked(plan.config), most),
        max_tasks_in_flight_per_actor=in_flight,
        max_concurrent_calls_per_actor=in_flight,
    )


def most_engines(plan: Plan) -> int:
    """Return how many engines a job may come to: no more than it has blocks, nor below the min."""
    replicas = plan.config.engine.replicas
    return max(replicas.min, min(replicas.max, _blocks(plan)))


def _blocks(plan: Plan) -> int:
    return math.ceil(plan.records / plan.records_per_block)


class Growth:
    """Lets a pool grow as its cluster does, and notes once why it stays below its most."""

    def __init__(self, plan: Plan) -> None:
        self._config, self._most = plan.config, most_engines(plan)
        self.wanted = 0
        """Engines that the cluster could hold when last looked at, up to the pool's maximum."""
        self._told = False
        self._running, self._since = 0, time.monotonic()

    def rule(self, context: ray.data.DataContext) -> None:
        """Keep Ray Data from changing the pool's size while there is work.

        It would go by the ratio of the calls in flight to those that an engine takes at a time.
        Here that is at most 1, so no pool would grow; and one idle moment would end an engine,
        which may take minutes to come back.
        """
        bounds = context.autoscaling_config
        bounds.actor_pool_util_upscaling_threshold = _NEVER_UP
        bounds.actor_pool_util_downscaling_threshold = _NEVER_DOWN
        context.custom_execution_callback_classes = [_scaling(self)]
        context.max_consecutive_actor_init_deaths = _FAILED_STARTS * self._held()

    def _held(self) -> int:
        return max(1, min(self._most, engines_held(self._config)))

    def look(self, status: Status) -> EngineEvent | None:
        """Look at the cluster; return a note where the pool stays below its most, once."""
        running = status.running
        if running != self._running:
            self._running, self._since = running, time.monotonic()
        if running >= self._most:
            return None
        with suppress(ray.exceptions.RayError):
            self.wanted = min(self._most, engines_asked(self._config))
            if self._stays(running, status):
                self._told = True
                why = why_no_more(self._config, running)
                cause = f"{running} of at most {self._most} engines: {why}"
                return EngineEvent(EventKind.SHORT, 0.0, cause, "pool")
        return None

    def _stays(self, running: int, status: Status) -> bool:
        if self._told or not running or running + len(status.starting) >= self._most:
            return False
        if status.failing:  # these keep their places, and their own notes say what is wrong
            return False
        settled = time.monotonic() > self._since + _SETTLED_S
        return settled or running >= engines_held(self._config)


def _scaling(growth: Growth) -> type[ExecutionCallback]:
    """Return what makes Ray Data's pool as large as is wanted, in the thread that it belongs to."""

    class Scaling(ExecutionCallback):  # a class, as Ray Data copies a context's objects
        def on_execution_step(self, executor: Any) -> None:
            """Ask for what is missing, until all work is given out."""
            pools = [
                (pool, operator, state)
                for operator, state in executor._topology.items()
                for pool in operator.get_autoscaling_actor_pools()
            ]
            for pool, operator, state in pools:
                over = operator._inputs_complete and not state.total_enqueued_input_blocks()
                missing = min(growth.wanted, pool.max_size()) - pool.current_size()
                if missing > 0 and not over:
                    reason = "they fit now"
                    pool.scale(ActorPoolScalingRequest.upscale(delta=missing, reason=reason))

    return Scaling
