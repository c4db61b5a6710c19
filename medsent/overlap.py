"""Opinions that thresholds were tuned on flatter them: they are found before they are counted."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medsent import predictions
from medsent.errors import ConfigError
from medsent.records import labelled, opinion_ids
from medsent.shards import BATCH_ROWS, BROKEN, PAGE_READERS, Shard, Shards, opened
from medsent.statistics.thresholds import Hashes, TunedOn, hash_opinions
from medsent.storage import AnyPath

_NONE: Hashes = np.empty(0, np.uint64)


def refuse_input(shards: Shards, tuned: Mapping[str, TunedOn]) -> None:
    """Refuse thresholds for an input with gold of opinions that they were tuned on.

    `tuned` is thresholds file to what it was tuned on. Of the shards only the opinions' ids
    are read, and the texts where an id is a text's hash; the memory needed depends on `tuned`
    alone. Raises `ConfigError` that names the file. A shard that cannot be read is passed
    over: the job that reads it tells.
    """
    if not tuned or not _has_gold(shards.columns, shards.labels):
        return
    sought = _all(tuned)
    with ThreadPoolExecutor(PAGE_READERS) as threads:
        found = reduce(np.union1d, threads.map(partial(_in_shard, shards, sought), shards.files))
    _refuse(
        tuned,
        found,
        "this input",
        "To label them all the same, leave `thresholds` out for 0.5, or take their gold away "
        "with input.columns",
    )


def refuse_run(folder: AnyPath, tuned: Mapping[str, TunedOn]) -> None:
    """Refuse thresholds for predictions with gold of opinions that they were tuned on.

    `folder` is a run's `predictions/`. Raises `ConfigError` that names the file.
    """
    if not tuned:
        return
    sought = _all(tuned)
    rows = predictions.batches(folder, ["opinion_id", "outcome", "gold"])
    found = reduce(np.union1d, (_among(_with_gold(batch), sought) for batch in rows), _NONE)
    _refuse(
        tuned,
        found,
        f"{folder.parent}",
        "Run `medsent evaluate` with other thresholds, or without: it scores nothing again",
    )


def _refuse(tuned: Mapping[str, TunedOn], found: Hashes, where: str, instead: str) -> None:
    for file, tuned_on in tuned.items():
        shared = len(np.intersect1d(found, tuned_on.hashes))
        if shared:
            raise ConfigError(
                f"thresholds: {file} was tuned on opinions of {where}: {shared:,} of its "
                f"{tuned_on.opinions:,} have gold labels here, and figures on them would flatter "
                "it. Evaluate other data, or tune on other opinions with `medsent thresholds`. "
                f"{instead}"
            )


def _with_gold(rows: pa.RecordBatch) -> pa.Array:
    """Return the opinions of the scored records that have gold."""
    scored = pc.equal(rows["outcome"], predictions.SCORED)
    return rows["opinion_id"].filter(pc.and_(scored, pc.is_valid(rows["gold"])))


def _all(tuned: Mapping[str, TunedOn]) -> Hashes:
    return np.unique(np.concatenate([tuned_on.hashes for tuned_on in tuned.values()]))


def _in_shard(shards: Shards, sought: Hashes, shard: Shard) -> Hashes:
    """Return which of the sought opinions a shard has gold of."""
    try:
        with opened(shards, shard) as parquet:
            return _in_file(parquet, shards, sought)
    except BROKEN:
        return _NONE


def _in_file(parquet: pq.ParquetFile, shards: Shards, sought: Hashes) -> Hashes:
    """Read as little as will do: ids, texts only where ids are missing, gold only of a find."""
    columns, labels = shards.columns, shards.labels
    key = _only(columns, ["opinion_id"])
    found = _sought(parquet, key, labels, sought) if key else None
    if found is None:
        key = _only(columns, ["opinion_id", "text"])
        found = _sought(parquet, key, labels, sought)
    if found is None or not len(found):
        return _NONE
    of_gold = _sought(parquet, key | _only(columns, ("labels", *labels)), labels, sought)
    return _NONE if of_gold is None else of_gold


def _sought(
    parquet: pq.ParquetFile, columns: Mapping[str, str], labels: Sequence[str], sought: Hashes
) -> Hashes | None:
    """Return which of the sought opinions are in a file, of its labelled rows if gold is read.

    None where an opinion's id is not in the columns.
    """
    found = _NONE
    for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns.values())):
        rows = pa.Table.from_batches([batch])
        ids = opinion_ids(rows, columns)
        if ids.null_count:
            return None
        if _has_gold(columns, labels):
            ids = ids.filter(labelled(rows, columns, labels))
        found = np.union1d(found, _among(ids, sought))
    return found


def _has_gold(columns: Mapping[str, str], labels: Sequence[str]) -> bool:
    return any(name in columns for name in ("labels", *labels))


def _among(ids: pa.Array, sought: Hashes) -> Hashes:
    return np.intersect1d(
        hash_opinions(pc.unique(ids).drop_null().to_pylist()), sought, assume_unique=True
    )


def _only(columns: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {ours: columns[ours] for ours in names if ours in columns}
