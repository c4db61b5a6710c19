"""The demo as a newcomer runs it, on a few records: a real engine inside a real Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsent.demo.data import write_split

RECORDS = 40


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("demo")
    rows = pq.read_table(write_split("heldout", folder)).slice(0, RECORDS)
    (folder / "input").mkdir()
    pq.write_table(rows, folder / "input" / "part-00000.parquet")
    return [
        f"--set=input.path={folder / 'input'}",
        f"--set=output.path={folder / 'runs'}",
        "--set=engine.rows_per_block=16",
    ]


def run(overrides: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medsent", "demo", *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)


def test_the_demo_scores_reports_and_then_finds_itself_complete(overrides: list[str]) -> None:
    first = run(overrides)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    report = Path(first.stdout.splitlines()[-1])
    assert report.name == "report.html"
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")

    metrics = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["records"]["input"] == metrics["records"]["scored"] == RECORDS
    assert list(metrics["variants"]) == ["baseline", "finetuned"]
    for variant in metrics["variants"].values():
        assert variant["overall"]["generation_success_rate"]["value"] == 1.0
        assert variant["throughput"]["records"] == RECORDS

    second = run(overrides)
    assert second.returncode == 0, second.stderr
    assert "no engine is started" in second.stdout
    assert second.stdout.splitlines()[-1] == str(report)
    assert json.loads((report.parent / "metrics.json").read_text(encoding="utf-8")) == metrics
