"""The command with a reader that pauses between blocks, and one engine that starts late."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from medsent import pipeline, scorer
from medsent.cli import main
from medsent.errors import EngineError
from medsent.plan import Plan

PAUSE_S = 14.0
"""Ray Data's own scaling would end an engine that idles, ten seconds after the last was asked."""
AGAIN_S = 3.0
BLOCK_BYTES = 200_000
"""Of those that reading gives on at once: less than half of all."""


class Reading(pipeline._Reading):
    """Gives half of the records, and the others late."""

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:  # type: ignore[override]
        records = super().__call__(rows)
        half = records.num_rows // 2
        yield records.slice(0, half)
        time.sleep(PAUSE_S)
        yield records.slice(half)


class Scorer(scorer.Scorer):
    """One of them does not start the first time."""

    def _start(self, plan: Plan) -> Any:
        scorer._START_AGAIN_S = AGAIN_S
        try:
            Path(f"{plan.config.output.path}.failed").touch(exist_ok=False)
        except FileExistsError:
            return super()._start(plan)
        raise EngineError("not this time")


if __name__ == "__main__":
    pipeline._Reading = Reading  # type: ignore[misc]
    pipeline.Scorer = Scorer  # type: ignore[misc]
    ray.data.DataContext.get_current().target_max_block_size = BLOCK_BYTES
    main()
