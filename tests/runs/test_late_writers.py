"""Who writes a block late, or twice, leaves it as it is: whole, each row once."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.runs.blocks import BlockWriter, Done, keep_rows, lost_dates, with_lost_dates
from medsent.runs.folder import RunFolder

NAME = "0011223344556677-000000"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "predictions").mkdir()
    return RunFolder(tmp_path)


def rows(*keys: int) -> pa.Table:
    return pa.table({"row_hash": pa.array(keys, pa.uint64()), "opinion_id": list(map(str, keys))})


def found(run: RunFolder) -> list[int]:
    """Return the keys of all rows of a run."""
    files = sorted(Path(str(run.predictions)).glob("*.parquet"))
    keys: list[int] = pa.concat_tables(map(pq.read_table, files))["row_hash"].to_pylist()
    return sorted(keys)


def test_the_rest_of_a_block_that_is_written_again_keeps_its_part(run: RunFolder) -> None:
    """As where a receipt is lost, or a scorer outlives its driver: the part is gone by then."""
    BlockWriter(run).write(NAME, rows(1, 2), whole=False, has_part=False)
    for _ in range(2):
        BlockWriter(run).write(NAME, rows(3), whole=True, has_part=True)
        assert found(run) == [1, 2, 3]


def test_the_rest_of_a_block_whose_part_is_lost_is_a_part(run: RunFolder) -> None:
    BlockWriter(run).write(NAME, rows(3), whole=True, has_part=True)
    assert [file.name for file in run.predictions.glob("*")] == [f"{NAME}.part.parquet"]


def test_a_part_that_comes_late_does_not_stand_beside_its_block(run: RunFolder) -> None:
    BlockWriter(run).write(NAME, rows(1, 2, 3), whole=True, has_part=False)
    BlockWriter(run).write(NAME, rows(1), whole=False, has_part=False)
    assert found(run) == [1, 2, 3]


def test_a_lost_date_is_counted_once_however_often_its_row_is_scored(run: RunFolder) -> None:
    def lost() -> set[int]:
        return {
            key
            for file in sorted(Path(str(run.predictions)).glob("*.parquet"))
            for key in lost_dates(pq.read_schema(file))
        }

    block = with_lost_dates(rows(1, 2, 3), [2, 3, 9])
    BlockWriter(run).write(NAME, block, whole=True, has_part=False)
    assert lost() == {2, 3}
    keep_rows(run, f"{NAME}.parquet", pa.array([True, True, False]))
    assert lost() == {2}
    BlockWriter(run).write(NAME, with_lost_dates(rows(3), [3]), whole=True, has_part=True)
    assert lost() == {2, 3}
    assert found(run) == [1, 2, 3]


def test_what_is_done_is_told_by_names_alone() -> None:
    names = ["ab-000000.parquet", "ab-000002.parquet", "ab-000001.part.parquet", "x_0-0.parquet"]
    done = Done.of(names)
    assert done.whole["ab"] == {0, 2}
    assert done.parts == {"ab": {1}}
    assert done.part_names() == ["ab-000001.part.parquet"]
