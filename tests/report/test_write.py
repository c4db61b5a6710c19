"""A report is made of a run's predictions and settings alone, wherever these stand."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands.evaluate import rewrite_report
from tests.conftest import Finished

pytestmark = pytest.mark.ray


@pytest.fixture
def moved(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / finished.folder.name))


def test_the_same_bytes_come_again(finished: Finished, moved: Path) -> None:
    for name in ("metrics.json", "report.md", "report.html"):
        (moved / name).unlink()
    rewrite_report(moved)
    for name in ("metrics.json", "report.md", "report.html"):
        assert (moved / name).read_bytes() == (finished.folder / name).read_bytes(), name


def test_also_of_files_that_were_renamed_reordered_or_merged(
    finished: Finished, moved: Path
) -> None:
    files = sorted((moved / "predictions").glob("*.parquet"))
    assert len(files) > 1
    for number, file in enumerate(reversed(files)):
        file.rename(file.with_name(f"renamed-{number}.parquet"))
    rewrite_report(moved)
    before = (finished.folder / "metrics.json").read_bytes()
    assert (moved / "metrics.json").read_bytes() == before
    rows = pa.concat_tables([pq.read_table(f) for f in (moved / "predictions").glob("*.parquet")])
    backwards = list(range(rows.num_rows))[::-1]
    shutil.rmtree(moved / "predictions")
    (moved / "predictions").mkdir()
    pq.write_table(rows.take(backwards), moved / "predictions" / "all.parquet")
    rewrite_report(moved)
    assert (moved / "metrics.json").read_bytes() == before
