"""The same text under several ids is counted, and to which its gold differs."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.job import InputSettings
from medsent.config.labels import LABELS
from medsent.input.sample import make_sample
from medsent.input.shards import open_shards
from medsent.metrics.same_texts import SameTexts, first_rows, same_texts

LONG = "The nurse came at once and explained what she was going to do"


def counted(folder: Path, *rows: tuple[str, str | None, str | None, list[str] | None]) -> SameTexts:
    """Count over rows of opinion_id, text, persona and labels, two a shard."""
    columns = ("opinion_id", "text", "persona", "labels")
    kinds: dict[str, Any] = {"labels": pa.list_(pa.string())}
    for first in range(0, len(rows), 2):
        some = rows[first : first + 2]
        table = {
            name: pa.array([row[place] for row in some], kinds.get(name, pa.string()))
            for place, name in enumerate(columns)
        }
        table["record_id"] = pa.array([f"r{first + i}" for i in range(len(some))])
        table["language"] = pa.array(["en"] * len(some))
        pq.write_table(pa.table(table), folder / f"{first}.parquet")
    return found_in(folder)


def found_in(folder: Path, **settings: Any) -> SameTexts:
    shards = open_shards(InputSettings(path=str(folder), **settings), LABELS)
    tables, every = first_rows(shards)
    assert every
    return same_texts(tables, shards)


def test_texts_under_several_ids(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        ("a", LONG, "surgeon", ["calm"]),
        ("b", LONG.upper(), "surgeon", ["anger"]),  # the same reader, other gold
        ("b", LONG, None, []),
        ("c", f"{LONG}, twice", "surgeon", ["calm"]),
        ("d", f"{LONG} (twice)", "surgeon", ["calm"]),
        ("e", f"{LONG} – twice", None, ["anger"]),  # another reader may have other gold
        ("f", f"{LONG} once", None, ["anger"]),  # of one id alone
        ("f", f"{LONG} once", None, ["calm"]),
        ("g", "Short.", None, ["anger"]),
        ("h", "Short.", None, ["calm"]),
        ("i", None, None, ["calm"]),
        ("j", LONG, "surgeon", None),  # without gold
    )
    assert (found.texts, found.under, found.differing) == (2, 5, 1)
    assert sorted(found.opinions.to_pylist()) == [*"abcdefghi"]


def test_none(tmp_path: Path) -> None:
    found = counted(tmp_path, ("a", LONG, None, []), ("b", "Short.", None, []))
    assert (found.texts, found.under, found.differing) == (0, 0, 0)


def test_gold_that_is_cut_is_compared_as_it_is_read(tmp_path: Path) -> None:
    rows = {
        "record_id": ["r0", "r1", "r2"],
        "opinion_id": ["a", "b", "c"],
        "text": [LONG, LONG, LONG],
        "language": ["en"] * 3,
        "persona": pa.array([None] * 3, pa.string()),
        "labels": [dict.fromkeys(LABELS, share) for share in (0.4, 0.3, 0.9)],
    }

    def found(rows: dict[str, Any]) -> SameTexts:
        pq.write_table(pa.table(rows), tmp_path / "0.parquet")
        return found_in(tmp_path, gold_cut=0.5)

    every = found(rows)
    assert (len(every.opinions), every.under, every.differing) == (3, 3, 1)
    low = found({name: column[:2] for name, column in rows.items()})
    assert (low.under, low.differing) == (2, 0)


def test_of_a_large_input_the_first_rows_of_each_shard_are_looked_at(tmp_path: Path) -> None:
    rows = [(f"{number}", LONG, None, ["calm"]) for number in range(8)]
    assert counted(tmp_path, *rows).under == 8
    settings = InputSettings(path=str(tmp_path))
    shards = open_shards(settings, LABELS)
    tables, every = first_rows(shards, most=4)
    assert not every
    assert [table["opinion_id"].to_pylist() for table in tables] == [["0"], ["2"], ["4"], ["6"]]
    assert same_texts(tables, shards).under == 4


def test_of_a_sample_the_others_are_left_out(tmp_path: Path) -> None:
    rows = [(f"{number}", LONG, None, ["calm"]) for number in range(40)]
    counted(tmp_path, *rows)
    settings = InputSettings(path=str(tmp_path), limit=5)
    shards = open_shards(settings, LABELS)
    sample, _ = make_sample(settings, shards)
    assert sample is not None
    tables, _ = first_rows(shards, sample)
    assert same_texts(tables, shards).under == 5
