"""The order in which records are scored: an opinion's together, about equal text in each block."""

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]

_TRIES = 16
"""Blocks that are looked at for one with room: only the last opinions find none at once."""


@dataclass(frozen=True)
class _Opinions:
    """K opinions and what is quarantined, as rows of a table of N records."""

    rows: Integers
    """(N,) indices: those of each opinion together, then the quarantined."""
    sizes: Integers
    """(K,) records of each opinion."""
    work: Integers
    """(K,) characters that its records hold together, the most first."""


@dataclass(frozen=True)
class _Blocks:
    """B blocks to be filled; the last may be a short one."""

    edges: Integers
    """(B,) places in the new order at which they end."""
    capacity: Integers
    """(B,) rows that they hold."""
    room: Integers
    """(B,) rows of them that are free."""
    density: npt.NDArray[np.float64]
    """(B,) characters they have, over their capacity."""


def by_work(records: pa.Table, rows_per_block: int) -> Integers:
    """Return the (N,) indices of records in an order that suits blocks of `rows_per_block`.

    The records of a text that are not quarantined follow each other, in one block wherever
    the sizes allow. Every block gets long texts and short ones, about as much of both, and
    quarantined rows fill what is left. The order depends on the rows alone and not on the
    order they are in, so that a block that is lost and read again is cut as it was.
    """
    opinions = _opinions(records)
    # Those that no block can hold go first: after them blocks can still be filled exactly.
    large = np.flatnonzero(opinions.sizes > rows_per_block)
    whole = np.flatnonzero(opinions.sizes <= rows_per_block)
    blocks = _blocks(opinions, large, rows_per_block)
    dealt, left = _dealt(opinions, whole.tolist(), blocks)
    return opinions.rows[_joined(_laid_out(opinions, large.tolist(), dealt, left, blocks))]


def _opinions(records: pa.Table) -> _Opinions:
    # The text may be of any type that the shards have it in, a dictionary too.
    text = records["text"].cast(pa.large_string()).dictionary_encode("encode").combine_chunks()
    characters = pc.fill_null(pc.utf8_length(text.dictionary), 0).to_numpy().astype(np.int64)
    settled = np.argsort(records["row_hash"].to_numpy(), kind="stable")
    codes = text.indices.to_numpy()[settled]
    good = records["reason"].is_null().to_numpy()[settled]
    sizes = np.bincount(codes[good], minlength=characters.size)
    work = characters * sizes
    found, first = np.unique(codes[good], return_index=True)
    ranked = found[np.lexsort((first, -work[found]))]
    rank = np.full(characters.size, ranked.size)
    rank[ranked] = np.arange(ranked.size)
    rows = settled[np.argsort(np.where(good, rank[codes], ranked.size), kind="stable")]
    return _Opinions(rows, sizes[ranked], work[ranked])


def _blocks(opinions: _Opinions, large: Integers, rows_per_block: int) -> _Blocks:
    """Return the blocks as the large opinions leave them."""
    count, before = opinions.rows.size, opinions.sizes[large].sum()
    starts = np.arange(0, count, rows_per_block)
    edges = np.minimum(starts + rows_per_block, count)
    capacity = edges - starts
    room = np.clip(edges - before, 0, capacity)
    last = large[-1:]  # the one that ends within a block
    characters = (opinions.work[last] / opinions.sizes[last]).sum()
    return _Blocks(edges, capacity, room, (capacity - room) * characters / capacity)


def _dealt(
    opinions: _Opinions, whole: list[int], blocks: _Blocks
) -> tuple[list[list[int]], deque[int]]:
    """Deal opinions out, each to the block with the least text a row that has room for it.

    Returns the opinions of each block, and those that fit in none.
    """
    sizes, work = opinions.sizes.tolist(), opinions.work.tolist()
    room, capacity = blocks.room.tolist(), blocks.capacity.tolist()
    smallest = min((sizes[opinion] for opinion in whole), default=0)
    dealt: list[list[int]] = [[] for _ in room]
    densities = enumerate(blocks.density.tolist())
    open_ = [(density, block) for block, density in densities if room[block] >= smallest]
    heapify(open_)
    left: deque[int] = deque()
    for opinion in whole:
        full: list[tuple[float, int]] = []
        while open_ and room[open_[0][1]] < sizes[opinion] and len(full) < _TRIES:
            full.append(heappop(open_))
        if not open_ or room[open_[0][1]] < sizes[opinion]:
            left.append(opinion)
        else:
            density, block = open_[0]
            dealt[block].append(opinion)
            room[block] -= sizes[opinion]
            if room[block] >= smallest:
                heapreplace(open_, (density + work[opinion] / capacity[block], block))
            else:
                heappop(open_)
        for entry in full:
            heappush(open_, entry)
    return dealt, left


def _laid_out(
    opinions: _Opinions,
    large: list[int],
    dealt: list[list[int]],
    left: deque[int],
    blocks: _Blocks,
) -> list[tuple[int, int]]:
    """Return the start and the length of stretches of `opinions.rows`, in their new order.

    Opinions that no block had room for fill what is left, across the edges of blocks if need be.
    """
    sizes = opinions.sizes.tolist()
    starts = [0, *np.cumsum(opinions.sizes).tolist()]
    spare = starts[-1]  # the next quarantined row
    spans = [(starts[opinion], sizes[opinion]) for opinion in large]
    at = sum(length for _, length in spans)
    for block, edge in zip(dealt, blocks.edges.tolist(), strict=True):
        spans += [(starts[opinion], sizes[opinion]) for opinion in block]
        at += sum(sizes[opinion] for opinion in block)
        while at < edge:
            fillers = min(edge - at, opinions.rows.size - spare)
            if left and (sizes[left[0]] <= edge - at or not fillers):
                opinion = left.popleft()
                spans.append((starts[opinion], sizes[opinion]))
            else:
                spans.append((spare, fillers))
                spare += fillers
            at += spans[-1][1]
    return spans


def _joined(spans: list[tuple[int, int]]) -> Integers:
    """Return the numbers of all stretches, one after the other."""
    starts, lengths = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    places = np.cumsum(lengths) - lengths
    return np.repeat(starts - places, lengths) + np.arange(lengths.sum())
