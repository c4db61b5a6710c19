"""What an erasure leaves of a run: its pin, and what an old night has in place of predictions."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsent.commands.erasure import erase, resume
from medsent.report.write import FILES
from medsent.runs.drifted import reference_of, write_drift
from medsent.runs.erased import Erased, list_erased
from medsent.runs.folder import QUOTING, RunFolder
from tests.commands.test_drift import write_run
from tests.report.sample import metrics


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of opinions "0" to "199", watched against a reference."""
    run = write_run(tmp_path / "runs" / "backfill-0", seed=1)
    write_drift(run, RunFolder(tmp_path / "nightly-0"), {"drifts": [{"message": "1 of 2"}]})
    return run


def held_ids(run: RunFolder) -> set[str]:
    files = run.predictions.glob("*.parquet")
    return {name for f in files for name in pq.ParquetFile(f).read()["opinion_id"].to_pylist()}


def test_the_reference_stays_pinned_and_no_figure_does(run: RunFolder, tmp_path: Path) -> None:
    erase(run, ["7"])
    assert "7" not in held_ids(run)
    told = json.loads((run.path / "drift.json").read_text())
    assert told == {"reference": str(tmp_path / "nightly-0")}
    erase(run, ["8"])
    assert reference_of(run) == str(tmp_path / "nightly-0")
    run.write("drift.json", "cut sh")
    erase(run, ["9"])
    assert not (run.path / "drift.json").exists()


@pytest.mark.slow
def test_an_old_night_keeps_its_reports_and_they_quote_nothing(run: RunFolder) -> None:
    """What was erased in another run of the output folder."""
    run.drop_predictions()
    run.write("metrics.json", metrics().to_json())
    for name in ("report.md", "report.html", *QUOTING):
        run.write(name, "an opinion that was quoted")
    kept = [(run.path / name).read_bytes() for name in ("metrics.json", "drift.json")]
    list_erased(run.path.parent, ["7"])
    resume(run)
    assert [(run.path / name).read_bytes() for name in ("metrics.json", "drift.json")] == kept
    for name in FILES:
        assert "quoted" not in (run.path / name).read_text()
    assert not [name for name in QUOTING if (run.path / name).exists()]
    assert not Erased.read(run).pending
