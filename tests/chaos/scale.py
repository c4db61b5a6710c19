"""`python -m tests.chaos.scale`: what a large input costs before its first record, and in memory.

Scores each input with one scripted engine, then takes a tenth of its blocks out and gives the
same command again, which finds and scores just those. With `--seconds`, for inputs that take an
hour, it scores for so long alone, and all blocks but a tenth are made up for the second start,
which looks at nothing but their names. Figures, not a test.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from medsent.console import ENVIRONMENT, quieten
from medsent.errors import StoppedError
from medsent.runs.blocks import block_name
from tests.chaos import processes
from tests.chaos.job import Job, write_config
from tests.chaos.memory import DRIVER, READER, SCORER, Figures, Sampler
from tests.chaos.opinions import write_shards
from tests.chaos.tokenizer import write_tokenizer

_READERS = 16
_RECORDS_IN_SHARD = 50_000
_BLOCK = 1024
_ONE_BLOCK_OF = 10
"""Of so many blocks one is taken out before the job is given again."""
_POLL_S = 0.05


@dataclass(frozen=True)
class Session:
    """One run of the command."""

    first_s: float
    """From the command to the first block that it has written."""
    total_s: float
    """The whole command: start, scoring, reduction and report."""
    memory: Mapping[str, Figures]

    def peak(self, process: str) -> str:
        """Return the most memory of a process in MiB; empty where none was seen at work."""
        return f"{self.memory[process].peak:.0f}" if process in self.memory else ""

    def own(self, process: str) -> str:
        """Return the same without what is shared, as pages of Ray's object store are."""
        return f"{self.memory[process].private:.0f}" if process in self.memory else ""


@dataclass(frozen=True)
class Measured:
    """One input."""

    records: int
    shards: int
    fresh: Session
    resumed: Session


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each input and print the tables."""
    options = _parser().parse_args(arguments)
    quieten()
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        model = write_tokenizer(folder / "model")
        measured = [
            _measure(folder / str(number), model, *shape, options)
            for number, shape in enumerate(_shapes(options))
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["", *_table(measured)]), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.scale", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--shards", type=int, help="instead: one input of so many shards")
    parser.add_argument("--rows", type=int, default=100, help="of each of these, about")
    parser.add_argument("--one-group", action="store_true", help="each input as one row group")
    parser.add_argument("--scattered", action="store_true", help="take blocks out everywhere")
    parser.add_argument(
        "--seconds", type=float, help="stop each start so long after its first block"
    )
    return parser


def _shapes(options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """Yield each input as its records and shards; without shards it is one row group."""
    if options.shards:
        yield options.shards * options.rows, options.shards
        return
    for records in options.records:
        yield records, 0 if options.one_group else -(-records // _RECORDS_IN_SHARD)


def _measure(
    folder: Path, model: Path, records: int, shards: int, options: argparse.Namespace
) -> Measured:
    source, opinions = folder / "shards", records // _READERS
    if shards:
        records = write_shards(source, opinions=opinions, shards=shards)
    else:
        records = write_shards(source, opinions=opinions, shards=1, row_group=records)
    tag = uuid.uuid4().hex
    config = write_config(
        folder / "job.yaml",
        source=source,
        output=folder / "runs",
        model=model,
        methods={"plain": "onepass"},
        engine={"rows_per_block": _BLOCK},
    )
    job = Job(config, {**os.environ, **ENVIRONMENT, processes.TAG: tag})
    fresh = _sit(job, tag, options.seconds)
    print(f"{records:,} records: {fresh.total_s:.0f} s", flush=True)
    if options.seconds:
        _make_up_blocks(job, source)
    _take_out_blocks(job, scattered=options.scattered)
    measured = Measured(records, shards or 1, fresh, _sit(job, tag, options.seconds))
    shutil.rmtree(folder)
    return measured


def _sit(job: Job, tag: str, seconds: float | None) -> Session:
    """Run the command to its end, or so many seconds past its first block; return what it took."""
    before, started, first_s = job.blocks(), time.monotonic(), None
    job.start()
    with Sampler(job.pid, tag) as sampler:
        while first_s is None and job.ended() is None:
            time.sleep(_POLL_S)
            if job.blocks() - before:
                first_s = time.monotonic() - started
        expected = 0
        if seconds and job.wait(time.monotonic() + seconds) is None:
            os.kill(job.pid, signal.SIGTERM)
            expected = StoppedError.exit_code
        code = job.wait(float("inf"))
    total_s = time.monotonic() - started
    if code != expected or first_s is None:
        raise SystemExit(f"the job ended with {code}: {job.last_words()}")
    return Session(first_s, total_s, sampler.figures())


def _make_up_blocks(job: Job, source: Path) -> None:
    """Give every block that was not scored a file; what stands in it is not looked at."""
    folder = _run_of(job) / "predictions"
    for part in folder.glob("*.part.parquet"):
        part.unlink()
    scored = folder / min(job.blocks())
    for file in sorted(source.glob("*.parquet")):
        metadata, number = pq.read_metadata(file), 0
        for group in range(metadata.num_row_groups):
            for _ in range(-(-metadata.row_group(group).num_rows // _BLOCK)):
                block = folder / f"{block_name(str(file.resolve()), number)}.parquet"
                if not block.exists():
                    os.link(scored, block)
                number += 1


def _run_of(job: Job) -> Path:
    assert job.run is not None
    return job.run


def _take_out_blocks(job: Job, *, scattered: bool) -> None:
    """Leave nine blocks of ten: all of some shards, as a kill does, or some of most row groups."""
    run, blocks = _run_of(job), sorted(job.blocks())
    (run / "manifest.json").unlink(missing_ok=True)
    few = -(-len(blocks) // _ONE_BLOCK_OF)
    for name in blocks[::_ONE_BLOCK_OF] if scattered else blocks[:few]:
        (run / "predictions" / name).unlink()


def _table(measured: Sequence[Measured]) -> Iterator[str]:
    """Yield a table with two rows for each input: from nothing, and at 90%."""
    yield (
        "| records | shards | done before | first block, s | all, s | driver, peak MiB "
        "| scorer, own MiB | reader, own MiB |"
    )
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
    for each in measured:
        for done, session in (("0%", each.fresh), ("90%", each.resumed)):
            cells = (
                f"{each.records:,}",
                f"{each.shards:,}",
                done,
                f"{session.first_s:.1f}",
                f"{session.total_s:.0f}",
                session.peak(DRIVER),
                session.own(SCORER),
                session.own(READER),
            )
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
