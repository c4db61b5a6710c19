"""Values that name folders: odd ones stay as they are, too long ones are shortened and counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from medsent.commands.backfill.folders import Shortened, folder_name

ODD = ["pl", "zh/Hant", "a=b", "100%", "język", "..", "nan", " ", "x" * 200, "ż" * 33]
LONG = ["x" * 201, "x" * 300, "ż" * 34, "/" * 200, "😀" * 90, "a" * 5_000_000]


def test_what_fits_stays_as_it_is() -> None:
    assert [folder_name(value) for value in ODD] == ODD


@pytest.mark.parametrize("value", LONG, ids=lambda value: f"{value[0]}{len(value)}")
def test_what_is_too_long_is_shortened_and_stays_apart(value: str) -> None:
    short = folder_name(value)
    assert value.startswith(short.rpartition("~")[0])
    assert folder_name(short) == short
    assert folder_name(value + "y") != short


def test_each_value_is_a_folder_and_comes_back(tmp_path: Path) -> None:
    values = [*ODD, *LONG, "", None]
    rows = pa.RecordBatch.from_pydict(
        {"language": pa.array(values, pa.string()), "row": pa.array(range(len(values)))}
    )
    fit = Shortened(["language"])
    by = ds.partitioning(pa.schema([("language", pa.string())]), flavor="hive")
    made = fit.of(iter([rows]))
    ds.write_dataset(made, tmp_path, schema=rows.schema, format="parquet", partitioning=by)
    assert fit.rows == len(LONG)
    found = ds.dataset(tmp_path, partitioning=by).to_table().sort_by("row")
    assert found["language"].to_pylist()[: len(ODD)] == ODD
    assert found.num_rows == len(values)


def test_what_names_no_folder_is_left_alone() -> None:
    rows = pa.RecordBatch.from_pydict({"language": ["x" * 300], "date": pa.nulls(1, pa.date32())})
    fit = Shortened(["date"])
    assert list(fit.of([rows])) == [rows]
    assert fit.rows == 0
