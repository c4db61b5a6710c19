"""A part of the input: a stable share of its opinions, chosen by a hash of their ids."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.config.input import InputSettings
from medsent.errors import InputError
from medsent.input.reading import PAGE_READERS, opened
from medsent.input.records import opinion_ids
from medsent.input.shard import BadShard, Shard, ShardError
from medsent.input.shards import Shards

_ALL = 2**64
_PURPOSE = b"medsent sample"  # so that the choice has nothing to do with other hashes of the ids

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sample:
    """The opinions whose hash lies below a bound: with a higher bound the same and more."""

    bound: int
    taken: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Path of a shard to the rows that are taken of each of its row groups."""

    def chosen(self) -> "Sample":
        """Return how opinions are chosen, without saying how many there are."""
        return Sample(self.bound)

    def of(self, records: pa.Table) -> pa.Table:
        """Return those of N records whose opinion is taken."""
        if self.bound >= _ALL:
            return records
        return records.filter(pa.array(_hashes(records["opinion_id"]) < np.uint64(self.bound)))


def make_sample(settings: InputSettings, shards: Shards) -> tuple[Sample | None, list[BadShard]]:
    """Return what `input.sample` and `input.limit` take of the shards; None where it is all.

    Reads the opinions' ids, and the texts where an id is a text's hash; needs 8 bytes of
    memory a row. Also returns the shards that cannot be read. Raises `InputError` where
    nothing is taken.
    """
    if settings.sample is None and settings.limit is None:
        return None, []
    bound = int((settings.sample or 1) * _ALL)
    with ThreadPoolExecutor(PAGE_READERS) as threads:
        read = list(threads.map(partial(_hashes_in, shards), shards.files))
    found = {file.path: each for file, each in zip(shards.files, read, strict=True)}
    good = {path: each for path, each in found.items() if not isinstance(each, BadShard)}
    if settings.limit is not None:
        bound = min(bound, _bound_of(settings.limit, good))
    taken = {path: tuple(_below(each, bound) for each in groups) for path, groups in good.items()}
    if not any(map(sum, taken.values())) and any(
        len(each) for groups in good.values() for each in groups
    ):
        raise InputError("input.sample takes none of the opinions; give a larger share")
    return Sample(bound, taken), [each for each in read if isinstance(each, BadShard)]


def _bound_of(limit: int, found: Mapping[str, list[Hashes]]) -> int:
    """Return the bound below which so many opinions lie."""
    groups = [hashes for groups in found.values() for hashes in groups]
    every = np.unique(np.concatenate([*groups, np.empty(0, np.uint64)]))
    return int(every[limit]) if len(every) > limit else _ALL


def _below(hashes: Hashes, bound: int) -> int:
    return len(hashes) if bound >= _ALL else int((hashes < np.uint64(bound)).sum())


def _hashes_in(shards: Shards, shard: Shard) -> list[Hashes] | BadShard:
    """Return the hash of each row's opinion, by row group; or why the shard cannot be read."""
    try:
        with opened(shards, shard) as file:
            parts: list[list[Hashes]] = [[np.empty(0, np.uint64)] for _ in file.groups]
            for group, ids in opinion_ids(file):
                parts[group].append(_hashes(ids))
    except ShardError as error:
        return error.bad
    return [np.concatenate(each) for each in parts]


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
