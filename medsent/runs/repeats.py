"""The repeats of a run: the same job asked again, each a run of its own beside the first."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.errors import RunError, place_of
from medsent.predictions import Outcome, record_keys
from medsent.runs.folder import RunFolder
from medsent.storage.ahead import in_turn
from medsent.storage.paths import names_below, open_parquet

_KEYS = ("row_hash", "persona", "outcome")
_AHEAD = 8
"""Blocks that are read before they are asked for."""


def repeat_name(name: str, number: int) -> str:
    """Return the name of the job that asks for the time `number`, from 2 on."""
    return f"{name}-repeat-{number}"


def repeats_of(run: RunFolder) -> list[RunFolder]:
    """Return the repeats of a run, complete or not, in their order; most runs have none."""
    name, _, fingerprint = run.path.name.rpartition("-")
    own = re.compile(rf"{re.escape(name)}-repeat-([2-9]|[1-9]\d+)-{re.escape(fingerprint)}")
    beside = run.path.parent.glob(f"{name}-repeat-*-{fingerprint}")
    found = {int(match[1]): each for each in beside if (match := own.fullmatch(each.name))}
    return [RunFolder(found[number]) for number in sorted(found)]


def records_of_all(
    runs: Sequence[RunFolder], columns: Sequence[str], rows: int
) -> Iterator[list[pa.RecordBatch]]:
    """Yield the records that every run has scored: a batch of each run, in the same order.

    A repeat cuts its input as the first run does, so that one block of each is read at a time;
    about so many rows are yielded together. Raises `RunError` where a file cannot be read.
    """
    waiting: list[list[pa.Table]] = []
    names = sorted(names_below(runs[0].predictions, "*.parquet"))
    with ThreadPoolExecutor(_AHEAD) as threads:
        for block in in_turn(threads, partial(_block, runs, columns), names, _AHEAD):
            if block is None:
                continue
            waiting.append(block)
            if sum(tables[0].num_rows for tables in waiting) >= rows:
                yield from _together(waiting)
                waiting = []
    yield from _together(waiting)


def _block(runs: Sequence[RunFolder], columns: Sequence[str], name: str) -> list[pa.Table] | None:
    """Return a block's records of each run; None where one lacks it, or has a part of it alone."""
    tables = []
    for run in runs:
        file = run.predictions / name
        try:
            with open_parquet(file) as parquet:
                table = parquet.read([*_KEYS, *columns])
        except FileNotFoundError:
            return None
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise RunError(f"{file} cannot be read ({place_of(error)})") from error
        tables.append(table.filter(pc.equal(table["outcome"], Outcome.SCORED)))
    return _in_one_order(tables)


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
