"""The command with a reader that pauses once, and one engine that does not start at first."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from medsent.cli import main
from medsent.errors import EngineError
from medsent.runs.blocks import Piece
from medsent.scoring import pipeline, scorer, source
from medsent.scoring.plan import Plan

ENGINES = 3
PAUSE_S = 11.0
"""Ray Data's own scaling would end an engine that idles, ten seconds after the last was asked."""
_LATE_RECORD = "150-2400"


class Reading(source.BlockReader):
    """Pauses once, amidst the blocks, until all engines are there and for a while longer."""

    def _block(self, piece: Piece, number: int, records: pa.Table) -> tuple[str, bool, pa.Table]:
        if _LATE_RECORD in records["record_id"].to_pylist():
            _wait_for(self._monitor, ENGINES)
            time.sleep(PAUSE_S)
        return super()._block(piece, number, records)


class Scorer(scorer.Scorer):
    """One of them does not start the first time."""

    def _start(self, plan: Plan) -> Any:
        try:
            Path(f"{plan.config.output.path}.failed").touch(exist_ok=False)
        except FileExistsError:
            return super()._start(plan)
        scorer._START_AGAIN_S = 0.1
        _wait_for(self._monitor, 1)
        raise EngineError("not this time")


def _wait_for(monitor: Any, engines: int) -> None:
    while len(ray.get(monitor.status.remote()).starts_s) < engines:
        time.sleep(0.2)


if __name__ == "__main__":
    source.BlockReader = Reading  # type: ignore[misc]
    pipeline.Scorer = Scorer  # type: ignore[misc]
    main()
