"""The pool of engines: asked for at once, never made smaller, and why it is not larger."""

import math
import time

import ray.data

from medsent.cluster import engines_asked, engines_held, why_no_more
from medsent.plan import Plan
from medsent.tally import Note, Standing

_FAILED_STARTS = 2  # of each engine; one more in a row ends the job
_GROWS_AT, _NEVER = 0.01, -1.0
_SETTLED_S = 30.0
"""A pool that stays so long below what there is room for does not grow, and is told of."""


def prepare(context: ray.data.DataContext, plan: Plan) -> None:
    """Let Ray Data grow the pool while there is work, and end no engine before all is begun.

    Its own bounds are of the calls in flight over those that an engine can take: as many as
    ours takes at most, so that no pool ever grew, and every idle moment ended an engine.
    """
    context.autoscaling_config.actor_pool_util_upscaling_threshold = _GROWS_AT
    context.autoscaling_config.actor_pool_util_downscaling_threshold = _NEVER
    context.max_consecutive_actor_init_deaths = _FAILED_STARTS * plan.config.engine.replicas.max


def strategy(plan: Plan, in_flight: int) -> ray.data.ActorPoolStrategy:
    """Return the pool's bounds, for engines that are kept busy by so many blocks at a time.

    What the cluster can take is asked for at the start.
    """
    most = most_engines(plan)
    if most > 1:  # who starts first does not take what those who start later would lack
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
    """Watches a pool become as large as it may, and notes once why it does not."""

    def __init__(self, plan: Plan) -> None:
        self._config, self._most = plan.config, most_engines(plan)
        self._told = False
        self._size, self._since = 0, time.monotonic()

    def look(self, standing: Standing) -> Note | None:
        """Return a note where the pool stays below its most; None where there is none to make."""
        running = len(standing.starts_s)
        if running != self._size:
            self._size, self._since = running, time.monotonic()
        if self._told or not running or running + len(standing.starting) >= self._most:
            return None
        settled = time.monotonic() > self._since + _SETTLED_S
        if not settled and running < engines_held(self._config):
            return None
        self._told = True
        why = why_no_more(self._config, running)
        return Note("pool", "short", 0.0, f"{running} of at most {self._most} engines: {why}")
