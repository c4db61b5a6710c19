"""Who writes a block late, or twice, leaves it as it is: whole, each row once."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.blocks import BlockWriter
from medsent.run import RunFolder

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
