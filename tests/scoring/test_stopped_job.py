"""A job that gets SIGTERM (a spot notice, `ray job stop`) writes what is scored, and ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from medsent.commands.evaluate import evaluate
from medsent.runs.folder import RunFolder
from tests.conftest import JobBuilder, logged, predictions_of

pytestmark = pytest.mark.ray

PATIENCE_S = 400


def committed(run: Path) -> list[Path]:
    return list((run / "predictions").glob("*.parquet"))


def wait_for_blocks(runs: Path, blocks: int) -> Path:
    """Wait until a job has committed some blocks; return its run folder."""
    for _ in range(PATIENCE_S * 10):
        for run in runs.glob("scripted-*"):
            if len(committed(run)) >= blocks:
                return run
        time.sleep(0.1)
    pytest.fail("the job committed nothing")


def engines() -> set[int]:
    """Return the processes of all scripted engines on this machine."""
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "medsent.engine.scripted.process" in (process.info["cmdline"] or [])
    }


def kill_statistics(pid: int) -> None:
    """Kill the helper that keeps Ray Data's statistics, of the Ray that a job has started."""
    found = [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if "ray::_StatsActor" in " ".join(process.cmdline())
    ]
    assert len(found) == 1
    found[0].kill()


def test_a_stopped_job_writes_what_is_scored_and_goes_on(job: JobBuilder, tmp_path: Path) -> None:
    # One answer at a time, so that blocks are under way whenever the signal comes.
    config = job(engine={"rows_per_block": 4, "latency_s": 0.5, "max_num_seqs": 1})
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    before = engines()
    running = subprocess.Popen(
        [sys.executable, "-m", "medsent", "evaluate", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_blocks(tmp_path / "runs", 1)
    kill_statistics(running.pid)
    run = RunFolder(wait_for_blocks(tmp_path / "runs", 3))
    running.send_signal(signal.SIGTERM)
    said, complained = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, complained
    done = predictions_of(run.path).num_rows
    assert 12 <= done < 24
    assert "KeyError" not in complained  # of a helper that knows nothing of the job any more
    assert complained.splitlines()[-1] == (
        f"medsent: stopped (SIGTERM): {done} of 24 records are done and written; the same command "
        "goes on from there"
    )
    assert "report.html" not in said
    assert run.manifest() is None
    assert engines() <= before
    with logged() as lines:
        evaluate(job(engine={"rows_per_block": 4}))
    assert f"Resuming: {done} of 24 records were already done." in lines
    table = predictions_of(run.path)
    assert table.num_rows == len(set(table["row_hash"].to_pylist())) == 24
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.timing.sittings == 2
