"""The commands as a user types them: what they print, and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from medsent.cli import main
from medsent.commands import evaluate as evaluation
from medsent.scoring import cautions
from tests.conftest import MARKER, Finished, job_values

pytestmark = pytest.mark.slow

COMMANDS = [
    *("evaluate", "nightly", "backfill", "erase", "requeue"),
    *("check", "prompt", "report", "compare", "thresholds", "train", "demo"),
]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def job_file(tmp_path: Path, demo_shard: Path, model_folder: Path) -> Path:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job_values(demo_shard, tmp_path / "runs", model_folder)))
    return file


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(evaluation, "score", started)


@pytest.fixture(autouse=True)
def _loaded_tokenizer(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each check the seconds that loading it takes."""
    monkeypatch.setattr(cautions, "load_tokenizer", lambda _: tokenizer)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    said = capsys.readouterr().out
    assert f"{command} " in said
    assert len(said.splitlines()) > 8


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert all(f"\n  {command} " in said for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["evaluate"], ["guess"], ["evaluate", "--sett", "a=1", "x"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.ray
def test_a_run_says_only_its_own_lines(finished: Finished) -> None:
    """No library's talk, nothing on stderr, and the report's path as the last line."""
    lines = finished.said.splitlines()
    assert lines[-1] == str(finished.folder / "report.html")
    assert lines[0] == (
        "hostile: 15 records in 2 shards, variants plain (onepass), tuned (onepass, LoRA), "
        "digits (bits), object (json)"
    )
    assert lines[1] == f"Run folder {finished.folder}"
    assert any(line == "15 records = 9 scored + 6 quarantined" for line in lines)
    starts = ("Scored 15 records in ", "  plain: ", "  tuned: ", "  digits: ", "  object: ")
    assert lines[2].startswith("Warning: gold: of 15 rows that were looked at 1 name what is no ")
    assert lines[3].startswith("Warning: 1 of 10 records that were looked at are in a language ")
    assert lines[4].startswith("Warning: tuned: its adapter names no prompt: ")
    progress = (
        "  starting engines, ",
        "  scored ",
        "  Cannot tell: tuned against plain, macro F1 ",
    )
    for line in lines[5:-1]:
        assert line.startswith((*starts, *progress, "15 records = ")), line
    assert finished.complained == ""


@pytest.mark.ray
def test_report_writes_a_complete_run_again(
    finished: Finished, nothing_starts: None, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = finished.folder / "metrics.json"
    before = metrics.read_text()
    metrics.unlink()
    (finished.folder / "report.html").unlink()
    assert run("report", str(finished.folder)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(finished.folder / "report.html")
    assert metrics.read_text() == before
    assert (finished.folder / "report.html").exists()


@pytest.mark.ray
def test_evaluate_finds_a_complete_run(
    finished: Finished, nothing_starts: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", str(finished.config)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "The run is complete: no engine is started, only its report is made again." in lines
    assert lines[-1] == str(finished.folder / "report.html")


def test_report_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", str(tmp_path)) == 1
    assert capsys.readouterr().err == f"medsent: {tmp_path} is no run: it has no config.yaml\n"


def test_check_says_what_a_job_comes_to(
    job_file: Path, nothing_starts: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("check", str(job_file)) == 0
    said = capsys.readouterr().out
    assert "24 records in 1 shards" in said
    assert "text=text" in said
    assert "plain: onepass, base model; thresholds 0.5 for every label" in said
    assert "of 24 records that were looked at: none" in said
    assert not (tmp_path / "runs").exists()


def test_check_counts_what_will_be_quarantined(
    job_file: Path, demo_shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(demo_shard)
    texts = pa.array(["", *table["text"].to_pylist()[1:]])
    place = table.column_names.index("text")
    pq.write_table(table.set_column(place, "text", texts), tmp_path / "spoilt.parquet")
    assert run("check", str(job_file), "--set", f"input.path={tmp_path / 'spoilt.parquet'}") == 0
    assert "of 24 records that were looked at: 1 empty_text" in capsys.readouterr().out


@pytest.mark.ray
def test_check_tells_the_time_from_the_last_run(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", str(finished.config)) == 0
    said = capsys.readouterr().out
    assert f"on what the last run had ({finished.folder.name})" in said
    for reason in ("2 empty_text", "1 bad_type"):
        assert reason in said


def test_a_setting_can_be_overridden(job_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("check", str(job_file), "--set", "name=other", "--set", "variants.b.method=bits") == 0
    )
    said = capsys.readouterr().out
    assert "other, fingerprint" in said
    assert "b: bits, base model" in said


def test_demo_outside_the_project_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("demo") == 2
    assert "run the demo from the project's folder" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["evaluate.py", "train_adapter.py"])
def test_a_jobs_script_is_the_same_command(script: str, tmp_path: Path) -> None:
    """As `ray job submit -- python jobs/evaluate.py FILE` runs it; the exit code passes through."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    missing = str(tmp_path / "gone.yaml")
    ended = subprocess.run(
        [sys.executable, f"jobs/{script}", missing],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(
        f"medsent: cannot read the configuration {missing}"
    )


def test_an_interrupt_says_how_to_go_on(
    job_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "make_plan", interrupted)
    assert run("evaluate", str(job_file)) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line_that_quotes_nothing(
    job_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise KeyError(MARKER)

    monkeypatch.setattr(evaluation, "make_plan", fails)
    monkeypatch.delenv("MEDSENT_DEBUG", raising=False)
    assert run("evaluate", str(job_file)) == 1
    said = capsys.readouterr()
    line = fails.__code__.co_firstlineno + 1
    assert said.err == (
        f"medsent: an unforeseen error, KeyError at test_cli.py:{line}; `medsent --debug` shows "
        "all of it\n"
    )
    monkeypatch.setenv("MEDSENT_DEBUG", "1")
    with pytest.raises(KeyError, match=MARKER):
        main(["evaluate", str(job_file)])


def test_the_log_of_another_run_is_only_a_hint(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged one must not stop a check."""
    folder = tmp_path / "runs" / "scripted-0"
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text(json.dumps({"event": "scored", "records": 9}))
    assert run("check", str(job_file)) == 0
    said = capsys.readouterr().out
    assert f"No time is taken from scripted-0: {folder}/log.jsonl, line 1" in said
    assert said.endswith("(time unknown).\n")
