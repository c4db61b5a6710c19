"""A run of the version before modules had folders: read, resumed, compared, requeued, erased."""

import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from medsent import predictions
from medsent.commands.compare import compare_runs
from medsent.commands.erase import erase
from medsent.commands.evaluate import evaluate, requeue
from medsent.commands.requeue import Selection
from medsent.config.job import JobConfig
from medsent.config.loader import load_settings
from medsent.report.write import reduce_run
from medsent.runs.folder import RunFolder
from tests.runs.numbers import numbers, other

pytestmark = pytest.mark.ray

HERE = Path("/tmp/medsent-earlier")
"""Where the job ran: a shard's path is part of what its rows are known by."""
ARCHIVE = Path(__file__).parents[1] / "data" / "run-of-blocks.tar.xz"
"""384 records in three shards, two scripted variants, blocks of 16 rows: a run that is complete,
and one whose driver was killed with six blocks done."""
METRICS = ARCHIVE.with_name("run-of-blocks.metrics.json.xz")
"""The metrics.json that that version made of the complete one."""
TIMED = ("prompt_tokens", "cached_tokens", "latency_s", "finished_at", "replica", "attempt")


@pytest.fixture
def earlier() -> Iterator[Path]:
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(HERE, filter="data")
    ledger = json.loads((run_of("whole").path / "ledger.json").read_text())
    for shard in ledger["good"]:  # an archive keeps no nanoseconds
        os.utime(shard["path"], ns=(int(shard["etag"]), int(shard["etag"])))
    yield HERE
    shutil.rmtree(HERE)


def run_of(name: str) -> RunFolder:
    """Return the one run of a job."""
    [found] = (HERE / name / "runs").iterdir()
    return RunFolder(found)


def config_of(name: str) -> JobConfig:
    return load_settings(JobConfig, str(HERE / name / "job.yaml"))


def answers(run: RunFolder) -> list[dict[str, object]]:
    """Return what stands in a run, but for times and places."""
    rows: pa.Table = predictions.table(run.predictions).sort_by("row_hash")
    return [
        {
            name: {key: each for key, each in value.items() if key not in TIMED}
            if isinstance(value, dict) and "status" in value
            else value
            for name, value in row.items()
        }
        for row in rows.to_pylist()
    ]


def test_its_numbers_are_the_same(earlier: Path) -> None:
    run = run_of("whole")
    made = reduce_run(run, run.config(), run.complete()).to_json()
    before = lzma.decompress(METRICS.read_bytes()).decode()
    assert other(numbers(made), numbers(before)) == {}


def test_what_a_kill_left_of_it_is_finished(earlier: Path, cluster: None, said: list[str]) -> None:
    killed = run_of("killed")
    evaluate(config_of("killed"))
    assert "Resuming: 96 of 384 records were already done." in said
    assert run_of("killed") == killed
    assert answers(killed) == answers(run_of("whole"))
    compare_runs(killed.path, run_of("whole").path, ("plain", "plain"), HERE / "compared")
    compared = json.loads((HERE / "compared" / "metrics.json").read_text())["comparisons"]
    assert [pair["overall"]["macro_f1"]["difference"]["value"] for pair in compared] == [0.0]


def test_it_is_complete_requeued_and_erased(earlier: Path, cluster: None, said: list[str]) -> None:
    run = run_of("whole")
    before = answers(run)
    evaluate(config_of("whole"))
    assert "The run is complete: no engine is started, only its report is made again." in said
    requeue(run.path, Selection(status="empty_text"))
    assert answers(run) == before
    erase([run.path], {"5": "line 1"})
    assert [row["reason"] for row in answers(run)].count("erased") == 16
