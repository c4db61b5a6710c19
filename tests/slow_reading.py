"""The command with a reader that pauses once, and one engine that does not start at first."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data

from medsent import pipeline, scorer
from medsent.cli import main
from medsent.errors import EngineError
from medsent.plan import Plan

ENGINES = 3
PAUSE_S = 11.0
"""Ray Data's own scaling would end an engine that idles, ten seconds after the last was asked."""
_LATE_RECORD = "150-2400"
_BLOCK_BYTES = 20_000
"""Of what reading gives on at once, so that what is before the pause is not kept for the rest."""


class Reading(pipeline._Reading):
    """Pauses once, amidst the rows, until all engines are there and for a while longer."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        if _LATE_RECORD in rows["record_id"].to_pylist():
            _wait_for(self._tally, ENGINES)
            time.sleep(PAUSE_S)
        return super().__call__(rows)


class Scorer(scorer.Scorer):
    """One of them does not start the first time."""

    def _start(self, plan: Plan) -> Any:
        try:
            Path(f"{plan.config.output.path}.failed").touch(exist_ok=False)
        except FileExistsError:
            return super()._start(plan)
        scorer._START_AGAIN_S = 0.1
        _wait_for(self._tally, 1)
        raise EngineError("not this time")


def _wait_for(tally: Any, engines: int) -> None:
    while len(ray.get(tally.standing.remote()).starts_s) < engines:
        time.sleep(0.2)


if __name__ == "__main__":
    pipeline._Reading = Reading  # type: ignore[misc]
    pipeline.Scorer = Scorer  # type: ignore[misc]
    ray.data.DataContext.get_current().target_max_block_size = _BLOCK_BYTES
    main()
