"""Files of predictions, read in batches."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.predictions import parquet, read


def write(folder: Path, *tables: pa.Table) -> list[Path]:
    found = []
    for number, table in enumerate(tables):
        found.append(folder / f"{number}.parquet")
        pq.write_table(table, found[-1])
    return found


@pytest.mark.parametrize("other", ["same columns", "a column more"])
@pytest.mark.parametrize("most", [2**30, 5000, 1])
def test_every_row_comes_once_however_large_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, other: str
) -> None:
    monkeypatch.setattr(parquet, "MOST_BYTES", most)
    tables = [pa.table({"text": [f"{n}-{i}" * 200 for i in range(10)]}) for n in range(4)]
    if other == "a column more":
        tables[2] = tables[2].append_column("since", pa.array(range(10)))
    batches = list(read(write(tmp_path, *tables), rows=25))
    texts = [text for batch in batches for text in batch["text"].to_pylist()]
    assert texts == [text for table in tables for text in table["text"].to_pylist()]
    assert (len(batches) > 2) == (most < 2**30)


def test_files_without_a_row_are_read(tmp_path: Path) -> None:
    empty = pa.table({"text": pa.array([], pa.string())})
    batches = list(read(write(tmp_path, empty, empty)))
    assert sum(batch.num_rows for batch in batches) == 0
