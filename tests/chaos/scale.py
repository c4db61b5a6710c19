"""`python -m tests.chaos.scale`: does memory stay flat from 100,000 to 1,000,000 records?

Scores both with one scripted engine and prints what each process took; figures, not a test.
A second start of each job, with one block missing, shows the checkpoint's filter at full size.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medsent.quiet import ENVIRONMENT, quieten
from tests.chaos import processes
from tests.chaos.job import Job, write_config
from tests.chaos.memory import Figures, Sampler
from tests.chaos.opinions import write_shards
from tests.chaos.tokenizer import write_tokenizer

_READERS = 16
_RECORDS_IN_SHARD = 50_000


@dataclass(frozen=True)
class Measured:
    """One size of input."""

    records: int
    wall_s: float
    """The whole command: start, scoring, reduction and report."""
    memory: dict[str, Figures]
    resumed: dict[str, Figures]
    """The same while the job was given again with one block missing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.scale", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000])
    options = parser.parse_args(arguments)
    quieten()
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        model = write_tokenizer(folder / "model")
        measured = [_measure(folder / str(size), model, size) for size in options.records]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["", *_speeds(measured), "", *_memory(measured)]), flush=True)
    return 0


def _measure(folder: Path, model: Path, records: int) -> Measured:
    shards = -(-records // _RECORDS_IN_SHARD)
    records = write_shards(folder / "shards", opinions=records // _READERS, shards=shards)
    tag = uuid.uuid4().hex
    config = write_config(
        folder / "job.yaml",
        source=folder / "shards",
        output=folder / "runs",
        model=model,
        methods={"plain": "onepass"},
        engine={"rows_per_block": 1024},
    )
    job = Job(config, {**os.environ, **ENVIRONMENT, processes.TAG: tag})
    started = time.monotonic()
    memory = _run(job, tag)
    wall_s = time.monotonic() - started
    print(f"{records:,} records: {wall_s:.0f} s, {records / wall_s:.0f} records/s", flush=True)
    _take_out_a_block(job)
    return Measured(records, wall_s, memory, _run(job, tag))


def _run(job: Job, tag: str) -> dict[str, Figures]:
    """Run the command to its end, printing its lines; return what its processes took."""
    job.start()
    with Sampler(job.pid, tag) as sampler:
        code = job.wait(float("inf"))
    if code != 0:
        raise SystemExit(f"the job ended with {code}: {job.last_words()}")
    return sampler.figures()


def _take_out_a_block(job: Job) -> None:
    run = job.run
    assert run is not None
    (run / "manifest.json").unlink()
    ids = min((run / "checkpoint").glob("*.parquet"))
    for file in (ids, *(run / "predictions").glob(f"{ids.stem}-*.parquet")):
        file.unlink()


def _speeds(measured: Sequence[Measured]) -> list[str]:
    rows = ["| records | wall time | records/s |", "|--:|--:|--:|"]
    return rows + [
        f"| {m.records:,} | {m.wall_s:.0f} s | {m.records / m.wall_s:.0f} |" for m in measured
    ]


def _memory(measured: Sequence[Measured]) -> list[str]:
    """Return a table with a row for each process and figure, a column for each size."""
    first, last = measured[0], measured[-1]
    sizes = " | ".join(f"{m.records:,}" for m in measured)
    rows = [f"| MiB | {sizes} | ratio |", "|---|" + "--:|" * (len(measured) + 1)]
    for name in first.memory:
        for figure in ("peak", "mean", "private"):
            values = [getattr(m.memory[name], figure) for m in measured]
            rows.append(_row(f"{name}, {figure}", values))
    for name in first.resumed:
        if name in last.resumed:
            rows.append(
                _row(f"{name}, peak of a resumed job", [m.resumed[name].peak for m in measured])
            )
    return rows


def _row(name: str, values: Sequence[float]) -> str:
    cells = " | ".join(f"{value:.0f}" for value in values)
    return f"| {name} | {cells} | {values[-1] / values[0]:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
