"""`make bench-reduce`: time and memory of a report's numbers, by the number of records.

Writes predictions of two variants, reduces them in a process of their own for each size, with
the pair's comparison, slices by language and persona and 1,000 replicates, and prints what it
took. The goal: 1,000,000 records in at most 120 s on 2 cores and 2 GB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medsent import predictions
from medsent.config.personas import load_personas
from medsent.metrics.build import build_metrics
from medsent.metrics.model import Run
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.write import rows_at_a_time
from tests.predicted import Answers, batch

SIZES: Final = (10_000, 31_623, 100_000, 316_228, 1_000_000)
VARIANTS: Final = ("baseline", "candidate")
GOAL_S, GOAL_MB = 120, 2000

_ROWS_IN_FILE: Final = 1024
"""As a job writes them: `engine.rows_per_block`."""
_CHUNK: Final = "--chunk"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reduce", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=SIZES)
    parser.add_argument("--readers", type=int, default=16, help="records an opinion")
    parser.add_argument("--labels", type=int, default=21, help="labels a record")
    parser.add_argument(_CHUNK, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.chunk:
        print(json.dumps(_reduce(options.chunk)))
        return 0
    print(
        f"{options.labels} labels, {options.readers} records an opinion, 1,000 replicates, "
        f"{len(VARIANTS)} variants\n"
    )
    print("| records | time | records/s | peak memory |\n|--:|--:|--:|--:|")
    for size in options.records:
        found = _measure(size, options.readers, options.labels)
        print(
            f"| {size:,} | {found['seconds']:.1f} s | {size / found['seconds']:,.0f} | "
            f"{found['peak_mb']:,.0f} MB |",
            flush=True,
        )
    print(f"\nGoal at 1,000,000: {GOAL_S} s, {GOAL_MB:,} MB")
    return 0


def _measure(size: int, readers: int, labels: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), size, readers, labels)
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.reduce", _CHUNK, folder],
            check=True,
            capture_output=True,
            text=True,
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _reduce(folder: Path) -> dict[str, float]:
    started = time.monotonic()
    labels = predictions.labels_of(folder)
    scope = Scope.of(VARIANTS, labels, ["language", "persona"], pairs=[VARIANTS], replicates=1000)
    state = reduce_batches(predictions.batches(folder, rows=rows_at_a_time(scope)), scope)
    build_metrics(state, run=Run(name="bench", fingerprint="0")).to_json()
    return {
        "seconds": time.monotonic() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _write(folder: Path, size: int, readers: int, labels: int) -> None:
    """Write files of predictions with probabilities, as a job leaves them."""
    rng = np.random.default_rng(0)
    personas = sorted(load_personas(None))
    for first in range(0, size, _ROWS_IN_FILE):
        rows = np.arange(first, min(first + _ROWS_IN_FILE, size))
        table = pa.Table.from_batches([_batch(rows, readers, labels, personas, rng)])
        pq.write_table(table, folder / f"part-{first:08d}.parquet")


def _batch(
    rows: np.ndarray,
    readers: int,
    labels: int,
    personas: Sequence[str],
    rng: np.random.Generator,
) -> pa.RecordBatch:
    gold = (rng.random((len(rows), labels)) < 0.2).astype(np.int8)
    answers = {}
    for name in VARIANTS:
        likely = np.clip(0.6 * gold + 0.4 * rng.random(gold.shape), 0, 1).astype(np.float32)
        answers[name] = Answers(
            (likely > 0.4).astype(np.int8),
            probabilities=likely,
            finished_at=(1_780_000_000_000_000 + 1000 * rows).tolist(),
            latency_s=rng.gamma(4, 0.1, len(rows)).tolist(),
            replicas=["replica-0"] * len(rows),
            prompt_tokens=[120] * len(rows),
            cached_tokens=[60] * len(rows),
            output_tokens=[1] * len(rows),
        )
    columns = {
        "row_hash": rows.tolist(),
        "record_id": rows.astype(str).tolist(),
        "opinion_id": (rows // readers).astype(str).tolist(),
        "language": np.where(rows // readers % 2, "pl", "en").tolist(),
        "persona": [personas[row % len(personas)] for row in rows],
    }
    return batch(gold, answers, columns)


if __name__ == "__main__":
    sys.exit(main())
