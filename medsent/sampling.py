"""A part of the input: a stable share of its opinions, chosen by a hash of their ids."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.config import InputSettings
from medsent.errors import InputError
from medsent.records import opinion_ids
from medsent.shards import BATCH_ROWS, BROKEN, PAGE_READERS, Shard, Shards, opened

_ALL = 2**64
_PURPOSE = b"medsent sample"  # so that the choice has nothing to do with other hashes of the ids

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sample:
    """The opinions whose hash lies below a bound: with a higher bound the same and more."""

    bound: int
    taken: Mapping[str, int]
    """Path of a shard to the rows of it that are taken; of a shard not named, all are."""

    def of(self, records: pa.Table) -> pa.Table:
        """Return those of N records whose opinion is taken."""
        return records.filter(pa.array(_hashes(records["opinion_id"]) < self.bound))


def make_sample(settings: InputSettings, shards: Shards) -> Sample | None:
    """Return what `input.sample` and `input.limit` take of the shards; None where it is all.

    Reads the opinions' ids, and the texts where an id is a text's hash; needs 8 bytes of
    memory a row. A shard that cannot be read counts whole: the job that reads it tells.
    Raises `InputError` where nothing is taken.
    """
    if settings.sample is None and settings.limit is None:
        return None
    bound = int((settings.sample or 1) * _ALL)
    with ThreadPoolExecutor(PAGE_READERS) as threads:
        read = threads.map(partial(_hashes_in, shards), shards.files)
        found = {
            file.path: np.sort(hashes)
            for file, hashes in zip(shards.files, read, strict=True)
            if hashes is not None
        }
    if settings.limit is not None:
        bound = min(bound, _bound_of(settings.limit, found))
    taken = {path: _below(hashes, bound) for path, hashes in found.items()}
    if not any(taken.values()) and any(map(len, found.values())):
        raise InputError("input.sample takes none of the opinions; give a larger share")
    return Sample(bound, taken)


def _bound_of(limit: int, found: Mapping[str, Hashes]) -> int:
    """Return the bound below which so many opinions lie."""
    every = np.unique(np.concatenate([*found.values(), np.empty(0, np.uint64)]))
    return int(every[limit]) if len(every) > limit else _ALL


def _below(hashes: Hashes, bound: int) -> int:
    return len(hashes) if bound >= _ALL else int(np.searchsorted(hashes, np.uint64(bound)))


def _hashes_in(shards: Shards, shard: Shard) -> Hashes | None:
    """Return the hash of each row's opinion; None where the shard cannot be read."""
    try:
        hashes = _read(shards, shard, ["opinion_id"])
        return _read(shards, shard, ["opinion_id", "text"]) if hashes is None else hashes
    except BROKEN:
        return None


def _read(shards: Shards, shard: Shard, names: list[str]) -> Hashes | None:
    """Return the same from these columns alone; None where they do not tell each row's id."""
    columns = {name: shards.columns[name] for name in names if name in shards.columns}
    parts = [np.empty(0, np.uint64)]
    if not columns:
        return None
    with opened(shards, shard) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns.values())):
            ids = opinion_ids(pa.Table.from_batches([batch]), columns)
            if ids.null_count:
                return None
            parts.append(_hashes(ids))
    return np.concatenate(parts)


def _hashes(opinion_ids: pa.Array | pa.ChunkedArray) -> Hashes:
    """Return (N,) a hash of each opinion's id."""
    encoded = pa.chunked_array([opinion_ids] if isinstance(opinion_ids, pa.Array) else opinion_ids)
    encoded = pc.dictionary_encode(encoded).combine_chunks()
    hashes = np.array([_hash(name) for name in encoded.dictionary.to_pylist()], np.uint64)
    found: Hashes = hashes[encoded.indices.to_numpy()]
    return found


def _hash(opinion_id: str) -> int:
    digest = hashlib.blake2b(opinion_id.encode(), digest_size=8, person=_PURPOSE).digest()
    return int.from_bytes(digest, "little")
