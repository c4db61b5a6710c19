"""The repeats of a run: the same job asked again, each a run of its own beside the first."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.predictions import Outcome, record_keys
from medsent.runs.folder import RunFolder
from medsent.storage.paths import names_below, open_parquet

_KEYS = ("row_hash", "persona", "outcome")


def repeat_name(name: str, number: int) -> str:
    """Return the name of the job that asks for the time `number`, from 2 on."""
    return f"{name}-repeat-{number}"


def repeats_of(run: RunFolder) -> list[RunFolder]:
    """Return the repeats of a run, complete or not, in their order; most runs have none."""
    name, _, fingerprint = run.path.name.rpartition("-")
    own = re.compile(rf"{re.escape(name)}-repeat-(\d+)-{re.escape(fingerprint)}")
    beside = run.path.parent.glob(f"{name}-repeat-*-{fingerprint}")
    found = {int(match[1]): each for each in beside if (match := own.fullmatch(each.name))}
    return [RunFolder(found[number]) for number in sorted(found)]


def records_of_all(
    runs: Sequence[RunFolder], columns: Sequence[str], rows: int
) -> Iterator[list[pa.RecordBatch]]:
    """Yield the records that every run has scored: a batch of each run, in the same order.

    Runs of one job cut their input into the same blocks, so that one block of each is read at a
    time, and about so many rows are yielded together.
    """
    waiting: list[list[pa.Table]] = []
    with ThreadPoolExecutor(len(runs)) as threads:
        for name in sorted(names_below(runs[0].predictions, "*.parquet")):
            some = list(threads.map(partial(_scored, name=name, columns=columns), runs))
            block = [table for table in some if table is not None]
            if len(block) < len(runs):
                continue  # another run lacks the block, or has a part of it
            waiting.append(_in_one_order(block))
            if sum(tables[0].num_rows for tables in waiting) >= rows:
                yield from _together(waiting)
                waiting = []
    yield from _together(waiting)


def _scored(run: RunFolder, name: str, columns: Sequence[str]) -> pa.Table | None:
    """Return a block's records that were scored; None where the run has no such file."""
    try:
        with open_parquet(run.predictions / name) as parquet:
            table = parquet.read([*_KEYS, *columns])
    except FileNotFoundError:
        return None
    return table.filter(pc.equal(table["outcome"], Outcome.SCORED))


def _in_one_order(block: Sequence[pa.Table]) -> list[pa.Table]:
    keys = [record_keys(table) for table in block]
    common = reduce(np.intersect1d, keys)
    return [
        table.take(order[np.searchsorted(own, common, sorter=order)])
        for table, own in zip(block, keys, strict=True)
        for order in [np.argsort(own)]
    ]


def _together(waiting: Sequence[Sequence[pa.Table]]) -> Iterator[list[pa.RecordBatch]]:
    """Yield blocks as one batch of each run; nothing where they hold no record."""
    tables = [pa.concat_tables(each).combine_chunks() for each in zip(*waiting, strict=True)]
    if tables and tables[0].num_rows:
        yield [table.to_batches()[0] for table in tables]
