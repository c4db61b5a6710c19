"""Languages that are too many for folders go to one, and are counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from medsent.commands.backfill import export
from medsent.commands.backfill.export import _Folder, _Stage
from medsent.commands.backfill.settings import LabelledSettings
from tests.conftest import logged

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
