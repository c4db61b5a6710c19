"""Records in the order of their work: opinions whole, and blocks that weigh the same."""

from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.input.order import by_work
from medsent.predictions import Reason

Row = tuple[str | None, bool]
"""A text, and whether its record is good."""

ROWS = st.lists(
    st.tuples(st.sampled_from([None, "", "a", "bb", "ą" * 9, "c" * 40, "d" * 300]), st.booleans())
)


def records(rows: list[Row]) -> pa.Table:
    return pa.table(
        {
            "row_hash": pa.array(range(len(rows)), pa.uint64()),
            "text": pa.array([text for text, _ in rows], pa.string()),
            "reason": pa.array(
                [None if good else Reason.EMPTY_TEXT for _, good in rows], pa.string()
            ),
        }
    )


def ordered(table: pa.Table, block: int) -> pa.Table:
    return table.take(pa.array(by_work(table, block)))


def shuffled(sizes: list[int], lengths: list[int]) -> list[Row]:
    """Return good rows, `sizes[i]` of a text of `lengths[i]` characters, in a random order."""
    pairs = enumerate(zip(sizes, lengths, strict=True))
    rows = [
        (f"{i:06}".ljust(length, "x"), True) for i, (size, length) in pairs for _ in range(size)
    ]
    order = np.random.default_rng(3).permutation(len(rows))
    return [rows[i] for i in order]


def cut(rows: list[Any], block: int) -> list[list[Any]]:
    return [rows[start : start + block] for start in range(0, len(rows), block)]


def split(rows: list[Row], block: int) -> int:
    """Count the times that an opinion goes on in another block."""
    met = [text for part in cut(rows, block) for text in {text for text, good in part if good}]
    return len(met) - len(set(met))


def spread(rows: list[Row], block: int) -> float:
    """Return the most text that a full block has, over the least."""
    work = [
        sum(len(text or "") for text, good in part if good)
        for part in cut(rows, block)
        if len(part) == block
    ]
    return max(work) / min(work)


@given(ROWS, st.integers(1, 9))
def test_every_row_stands_once_and_an_opinion_together(rows: list[Row], block: int) -> None:
    order = by_work(records(rows), block).tolist()
    assert sorted(order) == list(range(len(rows)))
    good = [rows[i][0] for i in order if rows[i][1]]
    assert len([text for text, _ in groupby(good)]) == len(set(good))
    stretches = [texts for texts, _ in groupby(order, key=lambda i: rows[i] if rows[i][1] else "")]
    opinions = [text for text in stretches if text != ""]
    assert len(opinions) == len(set(opinions)), "a quarantined row stands within an opinion"


@given(ROWS, st.integers(1, 9), st.randoms())
def test_the_order_is_of_the_rows_alone(rows: list[Row], block: int, random: Any) -> None:
    table = records(rows)
    other = random.sample(range(len(rows)), len(rows))
    again = table.take(pa.array(other, pa.int64()))
    assert ordered(again, block).equals(ordered(table, block))


@given(st.lists(st.integers(6, 400), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_opinions_of_one_size_that_divides_a_block_are_never_split(
    lengths: list[int], readers: int, opinions: int
) -> None:
    rows = shuffled([readers] * len(lengths), lengths)
    order = by_work(records(rows), readers * opinions)
    assert split([rows[i] for i in order], readers * opinions) == 0


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(6, 99)), max_size=25), st.integers(1, 12))
def test_an_edge_splits_one_opinion_at_most(pairs: list[tuple[int, int]], block: int) -> None:
    rows = shuffled([size for size, _ in pairs], [length for _, length in pairs])
    made = [rows[i] for i in by_work(records(rows), block)]
    assert split(made, block) <= max(0, len(cut(made, block)) - 1)


@pytest.mark.parametrize(
    ("readers", "block", "at_most"), [(16, 256, 1.05), (16, 200, 1.15), (1, 64, 1.05), (4, 64, 1.1)]
)
def test_blocks_have_as_much_text_of_a_skewed_input(
    readers: int, block: int, at_most: float
) -> None:
    """Opinions come sorted by length, as a shard of one source after the other would have them."""
    drawn = np.random.default_rng(5).lognormal(6, 1, 16 * 256 // readers)
    lengths = np.sort(np.clip(drawn, 10, 5000)).astype(int)
    rows = sorted(shuffled([readers] * len(lengths), lengths.tolist()), key=lambda r: len(r[0]))
    assert spread(rows, block) > 10
    assert spread([rows[i] for i in by_work(records(rows), block)], block) < at_most


def test_sizes_of_all_kinds_are_mostly_packed_whole() -> None:
    rng = np.random.default_rng(2)
    sizes, lengths = rng.integers(1, 17, 500), rng.integers(20, 2000, 500)
    rows = shuffled(sizes.tolist(), lengths.tolist())
    made = [rows[i] for i in by_work(records(rows), 256)]
    assert split(rows, 256) > 1000
    assert split(made, 256) <= len(cut(made, 256)) / 2  # of 500 opinions
    assert spread(made, 256) < 1.1 < spread(rows, 256)


def test_an_opinion_larger_than_a_block_fills_as_many_as_it_takes() -> None:
    rows = shuffled([22, 4, 4, 4, 2], [50, 60, 70, 80, 90])
    made = [rows[i] for i in by_work(records(rows), 8)]
    assert [text for text, _ in made[:22]] == [made[0][0]] * 22
    assert split(made, 8) == 2


def test_quarantined_rows_weigh_nothing_and_fill_what_is_left() -> None:
    good = shuffled([3] * 8, [100] * 8)
    made = good + [("q" * 90_000, False)] * 8
    made = [made[i] for i in by_work(records(made), 4)]
    assert [[good for _, good in part] for part in cut(made, 4)] == [[True] * 3 + [False]] * 8
    assert split(made, 4) == 0


@pytest.mark.parametrize("text", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_text_of_any_type_is_ordered_alike(text: pa.DataType) -> None:
    table = records(shuffled([3] * 5, [10, 20, 30, 40, 50]))
    place = table.schema.get_field_index("text")
    kept = pa.concat_tables(  # chunks with dictionaries of their own
        part.set_column(place, "text", part["text"].combine_chunks().cast(text))
        for part in (table.slice(0, 7), table.slice(7))
    )
    assert by_work(kept, 6).tolist() == by_work(table, 6).tolist()
    assert ordered(kept, 6)["text"].to_pylist() == ordered(table, 6)["text"].to_pylist()
