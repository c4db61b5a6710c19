"""Opinions that thresholds were tuned on flatter them: they are found before they are counted."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.errors import ConfigError
from medsent.input.casting import gold
from medsent.input.reading import PAGE_READERS, opened
from medsent.input.records import ids_of, opinion_ids
from medsent.input.shard import Shard, ShardError
from medsent.input.shards import Shards
from medsent.metrics.statistics.thresholds import Hashes, TunedOn, hash_opinions
from medsent.storage.paths import AnyPath

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
    scored = pc.equal(rows["outcome"], predictions.Outcome.SCORED)
    return rows["opinion_id"].filter(pc.and_(scored, pc.is_valid(rows["gold"])))


def _all(tuned: Mapping[str, TunedOn]) -> Hashes:
    return np.unique(np.concatenate([tuned_on.hashes for tuned_on in tuned.values()]))


def _in_shard(shards: Shards, sought: Hashes, shard: Shard) -> Hashes:
    """Return which of the sought opinions a shard has gold of; gold is read only of a find."""
    found = _NONE
    names = ("opinion_id", "text", "labels", *shards.labels)
    with suppress(ShardError), opened(shards, shard) as file:
        groups = {group for group, ids in opinion_ids(file) if len(_among(ids, sought))}
        for _, rows in file.tables(names, sorted(groups)):
            with_gold = gold(rows, shards.labels)[0].is_valid()
            found = np.union1d(found, _among(ids_of(rows).filter(with_gold), sought))
    return found


def _has_gold(columns: Mapping[str, str], labels: Sequence[str]) -> bool:
    return any(name in columns for name in ("labels", *labels))


def _among(ids: pa.Array, sought: Hashes) -> Hashes:
    return np.intersect1d(
        hash_opinions(pc.unique(ids).drop_null().to_pylist()), sought, assume_unique=True
    )
