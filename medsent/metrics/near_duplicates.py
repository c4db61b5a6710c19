"""Opinions whose texts are nearly the same, found by MinHash (Broder 1997).

A text is the set of its runs of five characters. Two texts are near-duplicates where the sets
have four fifths of their union in common, as MinHash estimates it; opinions are one cluster
where a chain of near-duplicates joins them.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasketch import MinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medsent.config.job import JobConfig
from medsent.input.shards import Shards
from medsent.input.texts import texts_of
from medsent.metrics.leakage import labelled_opinions
from medsent.runs.clusters import Clusters, clusters_of
from medsent.runs.folder import CLUSTERS, RunFolder

logger = logging.getLogger(__name__)

ALIKE: Final = 0.8
"""The estimated share in common from which two texts are near-duplicates: in a text of 120
characters, one word that differs."""

_RUN: Final = 5
_HASHES: Final = 128
"""Hashes in a text's signature: with 128 the estimate's standard error is 0.035 at 0.8."""
_BAND: Final = 8
"""A signature has 16 bands of 8 hashes. Two texts are compared only if they agree in a band: 95 in
100 pairs with 0.8 in common do, and nearly all with 0.9. Each is compared with the band's first."""

_EMPTY: Final = MinHash(_HASHES, seed=1, hashfunc=crc32)

Places = npt.NDArray[np.int64]
Signature = npt.NDArray[np.uint32]
Signatures = npt.NDArray[np.uint32]
"""(N, 128)"""


def keep_clusters(run: RunFolder, config: JobConfig, shards: Shards) -> None:
    """Write a run's clusters of near-duplicates if its settings ask for them; else remove them."""
    if config.statistics.cluster == "opinion":
        (run.path / CLUSTERS).unlink(missing_ok=True)
        return
    found = find_clusters(run, shards)
    found.write(run)
    unread = f"; {found.unread:,} have no text there any more" if found.unread else ""
    logger.info(
        f"Near-duplicates: {found.clustered:,} of {found.opinions:,} opinions with gold are "
        f"{len(found.clusters):,} clusters for intervals and tests{unread}"
    )


def find_clusters(run: RunFolder, shards: Shards) -> Clusters:
    """Return the clusters of near-duplicates among the opinions of a run that are scored with gold.

    Intervals are of these alone. Texts are read from the shards and let go; see `grouped`.
    """
    ids = [pc.unique(some) for some in labelled_opinions(run.predictions)]
    labelled = pc.unique(pa.chunked_array(ids, pa.string()))
    groups = grouped(texts_of(shards, labelled))
    return clusters_of(groups, len(labelled), unread=len(labelled) - sum(map(len, groups)))


def grouped(tables: Iterable[pa.Table]) -> list[list[str]]:
    """Return the ids of the opinions of these texts, near-duplicates together.

    The tables are those of `texts_of`. A text that cannot be recognised is like no other.
    Memory is about 1 KB an opinion.
    """
    opinions: dict[str, int] = {}
    texts: dict[bytes, int] = {}
    signatures: list[Signature] = []
    pairs: list[tuple[int, int]] = []
    for table in tables:
        columns = (table[name].to_pylist() for name in ("opinion_id", "text"))
        for opinion_id, text in zip(*columns, strict=True):
            opinion = opinions.setdefault(opinion_id, len(opinions))
            if text is None:
                continue
            place = texts.setdefault(blake2b(text.encode(), digest_size=16).digest(), len(texts))
            if place == len(signatures):
                signatures.append(_signature(text))
            pairs.append((opinion, place))
    return _joined(list(opinions), np.array(pairs, np.int64).reshape(-1, 2), signatures)


def _signature(text: str) -> Signature:
    runs = {text[at : at + _RUN].encode() for at in range(len(text) - _RUN + 1)}
    made = _EMPTY.copy()
    made.update_batch(runs)
    return np.asarray(made.hashvalues, np.uint32)


def _joined(ids: Sequence[str], pairs: Places, signatures: Sequence[Signature]) -> list[list[str]]:
    """Return the ids in groups that `pairs` of opinion and text, and texts alike, join."""
    alike = list(_alike(np.stack(signatures))) if signatures else []
    within = pairs + np.array([0, len(ids)])  # texts come after the opinions
    joined = np.concatenate([within, *(each + len(ids) for each in alike)])
    size = len(ids) + len(signatures)
    graph = coo_array((np.ones(len(joined), bool), joined.T), shape=(size, size))
    groups: dict[int, list[str]] = {}
    of_each = connected_components(graph, directed=False)[1][: len(ids)].tolist()
    for name, group in zip(ids, of_each, strict=True):
        groups.setdefault(group, []).append(name)
    return list(groups.values())


def _alike(signatures: Signatures) -> Iterator[Places]:
    """Yield places of texts that are near-duplicates, (P, 2).

    The library's own index would take several KB a text, and a loop over them.
    """
    for first in range(0, _HASHES, _BAND):
        band = np.ascontiguousarray(signatures[:, first : first + _BAND])
        _, found, group = np.unique(band, axis=0, return_index=True, return_inverse=True)
        pairs = np.stack([found[group.ravel()], np.arange(len(band))], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        same = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
        yield pairs[same >= ALIKE]
