"""Values that name folders: odd ones stay, too long ones are shortened, too many share one."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from medsent.commands.backfill import export
from medsent.commands.backfill.export import _Folder, _Stage
from medsent.commands.backfill.folders import Shortened, folder_name
from medsent.commands.backfill.settings import LabelledSettings
from tests.conftest import logged

ODD = ["pl", "zh/Hant", "a=b", "100%", "język", "..", "nan", " ", "x" * 200, "ż" * 33]
LONG = ["x" * 201, "x" * 300, "ż" * 34, "/" * 200, "😀" * 90, "a" * 5_000_000]

BY_LANGUAGE = LabelledSettings(partition_by=["language"])


def handed_on(folder: Path, languages: list[str | None]) -> tuple[list[str | None], list[str]]:
    """Write a row for each language; return them as others read them, and what is said."""
    rows = pa.record_batch({"row": pa.array(range(len(languages))), "language": languages})
    stage = _Stage(_Folder(folder), BY_LANGUAGE, 1, anew=True)
    with logged() as said:
        stage.write(lambda: iter([rows]), rows.schema, {"en", "pl"})
    added, _, _ = stage.compact()
    assert added == len(languages)
    read = ds.dataset(folder / "_staged", partitioning="hive", exclude_invalid_files=False)
    table = read.to_table().sort_by("row")
    return table["language"].to_pylist(), said


def test_of_too_many_those_that_the_job_speaks_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_MOST_PARTITIONS", 20)
    found, said = handed_on(tmp_path, [*(f"l{number}" for number in range(30)), "pl", "en"])
    assert found == [*["other"] * 30, "pl", "en"]
    assert said[0].startswith("Labelled: 30 rows are in language=other")


def test_what_names_a_folder_stands_as_it_is(tmp_path: Path) -> None:
    assert handed_on(tmp_path, ["pl", "en", None]) == (["pl", "en", None], [])


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
