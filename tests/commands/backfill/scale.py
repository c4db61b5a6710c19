"""`python -m tests.commands.backfill.scale`: a large backfill, stopped twice, its input growing.

A million records of 62,500 opinions by 16 personas, with the scripted engine: the first command
is ended by SIGTERM, the second by kill -9, and before each that goes on new shards arrive.
Then every record is counted by its record_id and persona, which the job does not go by.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import yaml

from medsent.console import ENVIRONMENT, quieten
from tests.chaos import processes
from tests.chaos.job import Job
from tests.chaos.memory import Figures, Sampler
from tests.chaos.tokenizer import write_tokenizer
from tests.commands.backfill.opinions import PERSONAS, backfill_values, write_opinions

_SHARDS = 20
_PARTS = (0.5, 0.3, 0.2)
"""Shares of the input that are there at the first, second and third command."""
_STOPPED_AT = (0.2, 0.6)
"""Shares of all records after which the first two commands are ended."""
_BLOCK = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its figures; return 1 where a record has not one outcome."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.commands.backfill.scale", description=__doc__
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    quieten()
    folder = Path(tempfile.mkdtemp(prefix="backfill-"))
    try:
        return _campaign(folder, options.records // len(PERSONAS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _campaign(folder: Path, opinions: int) -> int:
    tag = uuid.uuid4().hex
    values = backfill_values(
        folder / "in",
        folder / "runs",
        write_tokenizer(folder / "model"),
        engine={"kind": "scripted", "rows_per_block": _BLOCK},
        labelled={"partition_by": ["language", "month"]},
        price={"per_replica_hour": 1.0},
    )
    file = folder / "job.yaml"
    job = Job(file, {**os.environ, **ENVIRONMENT, processes.TAG: tag}, "jobs/backfill.py")
    records, began = opinions * len(PERSONAS), time.monotonic()
    seen: dict[str, list[Figures]] = {}
    for part, share in enumerate(_PARTS):
        _write(folder / "in", part, share, opinions)
        file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        started = time.monotonic()
        job.start()
        with Sampler(job.pid, tag) as sampler:
            ended = _end(job, part, records)
        for name, figures in sampler.figures().items():
            seen.setdefault(name, []).append(figures)
        print(f"command {part + 1}: {ended}, {time.monotonic() - started:.0f} s", flush=True)
        print(f"  {job.last_words()}", flush=True)
    wall_s = time.monotonic() - began
    assert job.run is not None
    wrong = _count(job.run, opinions)
    print(f"\n{records:,} records in {wall_s:.0f} s, {records / wall_s:.0f} records/s, {wrong}")
    rows, distinct, files = _labelled(job.run)
    print(f"labelled: {rows:,} rows, {distinct:,} distinct, in {files} files")
    for name, each in seen.items():
        print(f"  {name}: peak {max(figures.peak for figures in each):.0f} MiB")
    return int(wrong != _RIGHT or not rows == distinct == records)


def _write(folder: Path, part: int, share: float, opinions: int) -> None:
    """Add shards of the next opinions."""
    first = round(sum(_PARTS[:part]) * opinions)
    last = round((sum(_PARTS[:part]) + share) * opinions)
    shards = max(1, round(_SHARDS * share))
    edges = [first + (last - first) * shard // shards for shard in range(shards + 1)]
    for shard, (begin, end) in enumerate(pairwise(edges)):
        write_opinions(folder / f"part-{part}-{shard:03d}.parquet", begin, end - begin)


def _end(job: Job, part: int, records: int) -> str:
    """End a command once enough is done, in another way each; the last one ends by itself."""
    if part < len(_STOPPED_AT):
        while job.ended() is None and _done(job) < _STOPPED_AT[part] * records:
            time.sleep(0.2)
        if job.process is not None and job.ended() is None:
            job.process.send_signal((signal.SIGTERM, signal.SIGKILL)[part])
    code = job.wait(float("inf"))
    if (code == 0) != (part == len(_STOPPED_AT)):
        raise SystemExit(f"command {part + 1} ended with {code}: {job.last_words()}")
    return f"ended with {code} at {min(records, _done(job)):,} records"


def _done(job: Job) -> int:
    return max(0, job.blocks_done() + job._blocks_before) * _BLOCK


_RIGHT = "one outcome each"


def _count(run: Path, opinions: int) -> str:
    """Count the outcomes of each record, and compare them with the input's numbers."""
    files = [str(file) for file in (run / "predictions").glob("*.parquet")]
    table = ds.dataset(files).to_table(["record_id", "persona", "outcome"])
    numbers = pc.cast(pc.utf8_slice_codeunits(table["record_id"], 1), pa.int64())
    keys = pa.table({"number": numbers, "persona": table["persona"]})
    counted = keys.group_by(["number", "persona"]).aggregate([([], "count_all")])
    most = pc.max(counted["count_all"]).as_py()
    distinct = counted.num_rows
    inside = pc.all(pc.less(numbers, opinions)).as_py()
    unscored = pc.sum(pc.not_equal(table["outcome"], "scored")).as_py()
    if (most, distinct, inside, unscored) == (1, opinions * len(PERSONAS), True, 0):
        return _RIGHT
    return f"WRONG: {distinct:,} distinct, up to {most} outcomes, {unscored} not scored"


def _labelled(run: Path) -> tuple[int, int, int]:
    """Return the rows, the distinct ones, and the files they are in."""
    dataset = ds.dataset(run / "labelled", partitioning="hive")
    keys = dataset.to_table(["row_hash", "persona"])
    distinct = keys.group_by(["row_hash", "persona"]).aggregate([]).num_rows
    return keys.num_rows, distinct, len(dataset.files)


if __name__ == "__main__":
    sys.exit(main())
