"""A part of the input is taken by its opinions: the same ones every time, and rows that add up."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.config.input import InputSettings
from medsent.errors import InputError
from medsent.input.sample import Sample, make_sample
from medsent.input.shards import Shards
from tests.input.reading import opened, records, rows

OPINIONS = 200


@pytest.fixture(params=["ids", "texts"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two shards of 300 rows in three row groups each, of 200 opinions: by id, or by text alone."""
    for shard in range(2):
        known = pa.array([f"o{(row * 7 + shard * 50) % OPINIONS}" for row in range(300)])
        named = {"opinion_id": known} if request.param == "ids" else {"text": known}
        pq.write_table(rows(300, **named), tmp_path / f"{shard}.parquet", row_group_size=100)
    return tmp_path


def sampled(folder: Path, **settings: Any) -> tuple[Sample | None, Shards]:
    shards = opened(folder)
    sample, bad = make_sample(InputSettings(path=str(folder), **settings), shards)
    assert bad == []
    return sample, shards


def opinions(sample: Sample, shards: Shards) -> set[str]:
    return set(sample.of(records(shards))["opinion_id"].to_pylist())


def test_without_a_sample_all_is_taken(folder: Path) -> None:
    assert sampled(folder)[0] is None


@pytest.mark.parametrize("settings", [{"sample": 0.3}, {"limit": 11}, {"sample": 0.5, "limit": 7}])
def test_the_rows_that_are_counted_are_those_that_are_taken(
    folder: Path, settings: dict[str, Any]
) -> None:
    sample, shards = sampled(folder, **settings)
    assert sample is not None
    for shard in shards.files:
        part = records(Shards(**{**vars(shards), "files": (shard,)}))
        groups = [sample.of(part[start : start + 100]).num_rows for start in (0, 100, 200)]
        assert sample.taken[shard.path] == tuple(groups)
    assert sample.chosen().of(records(shards)).num_rows == sum(map(sum, sample.taken.values()))


def test_a_limit_is_of_opinions_and_a_larger_one_holds_the_smaller(folder: Path) -> None:
    before: set[str] = set()
    for limit in (1, 10, 199, OPINIONS, OPINIONS + 1):
        sample, shards = sampled(folder, limit=limit)
        assert sample is not None
        taken = opinions(sample, shards)
        assert len(taken) == min(limit, OPINIONS)
        assert before <= taken
        before = taken


def test_a_share_is_about_that_share(folder: Path) -> None:
    sample, shards = sampled(folder, sample=0.25)
    assert sample is not None
    assert 25 < len(opinions(sample, shards)) < 75


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    pq.write_table(rows(2), tmp_path / "0.parquet")
    with pytest.raises(InputError, match="takes none of the opinions"):
        sampled(tmp_path, sample=1e-9)


def test_shards_without_rows_take_none(folder: Path) -> None:
    pq.ParquetWriter(folder / "2.parquet", rows().schema).close()
    pq.write_table(rows(0), folder / "3.parquet")
    sample, _ = sampled(folder, limit=5)
    assert sample is not None
    assert sample.taken[str(folder / "2.parquet")] == ()
    assert sum(sample.taken[str(folder / "3.parquet")]) == 0


def test_a_shard_that_cannot_be_read_is_told(folder: Path) -> None:
    shards = opened(folder)
    (folder / "1.parquet").unlink()
    sample, [bad] = make_sample(InputSettings(path=str(folder), limit=5), shards)
    assert sample is not None
    assert list(sample.taken) == [str(folder / "0.parquet")]
    assert (Path(bad.path).name, bad.reason) == ("1.parquet", "disappeared")
