"""A few drawn jobs; and that a trial sees what it is there to see."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from tests.fuzz import trial
from tests.fuzz.__main__ import draw
from tests.fuzz.columns import MARK
from tests.fuzz.drawn import Drawn, Shard, jobs
from tests.fuzz.inputs import Written
from tests.fuzz.trial import Trial, attempt

FINE = CompletedProcess(["evaluate"], 0, "report.html\n", "")


@given(jobs())
def test_a_line_of_json_is_the_job_again(drawn: Drawn) -> None:
    assert Drawn.of_json(drawn.to_json()) == drawn


def test_a_seed_draws_the_same_jobs() -> None:
    first, second = list(draw(30, 5)), list(draw(30, 5))
    assert first == second
    assert len(set(first)) == len(first) > 20


@pytest.mark.ray
@pytest.mark.parametrize(
    ("drawn", "ready", "code"),
    [
        (Drawn(), True, 0),
        (Drawn(shards=(Shard(text="large_string"), Shard(damage="cut_off"))), False, 2),
        (Drawn(adapter="git_lfs"), False, 2),
        (Drawn(setting="unknown_key"), False, 2),
    ],
)
def test_a_job_ends_as_check_says(
    drawn: Drawn, ready: bool, code: int, cluster: None, tmp_path: Path, small_model: Path
) -> None:
    tried = attempt(drawn, tmp_path, small_model)
    assert tried == Trial(drawn, ready, code, tried.last_line, ())


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (CompletedProcess([], 1, "", "Traceback (most recent call last):\nmedsent: x"), "a trace"),
        (CompletedProcess([], 1, "", "medsent: an unforeseen error, x"), "medsent: an unforeseen"),
        (CompletedProcess([], 0, f"Warning {MARK}-0-1", ""), "quotes an opinion"),
        (CompletedProcess([], 137, "", "medsent: x"), "exit code 137"),
        (CompletedProcess([], 1, "", "KeyError: 'x'"), "its last line is not medsent's"),
    ],
)
def test_a_command_that_ends_badly_is_seen(ended: CompletedProcess[str], fault: str) -> None:
    [found] = trial._of_command(ended)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("checked", "ready", "code", "fault"),
    [
        (0, True, 1, "Ready, then exit code 1"),
        (2, False, 0, "refused by check, then scored"),
        (0, False, 1, "check: Ready is False and the exit code 0"),
    ],
)
def test_a_check_that_is_wrong_is_seen(checked: int, ready: bool, code: int, fault: str) -> None:
    one, two = (CompletedProcess([], each, "", "") for each in (checked, code))
    assert list(trial._of_both(one, ready, two)) == [fault]


def _doubled(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(0, 1)])


def _lost(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


@pytest.mark.parametrize(
    ("spoil", "faults"),
    [
        (lambda rows: rows, []),
        (_doubled, ["4 rows, where the manifest has 3 less 0", "a row twice"]),
        (_lost, ["2 rows, where the manifest has 3 less 0"]),
    ],
)
def test_rows_lost_and_doubled_are_seen(
    spoil: Callable[[pa.Table], pa.Table], faults: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "drawn-0"
    (run / "predictions").mkdir(parents=True)
    rows = spoil(pa.table({"row_hash": ["a", "b", "c"], "persona": ["p"] * 3}))
    pq.write_table(rows, run / "predictions" / "a.parquet")
    records = {"input": 3, "scored": 2, "quarantined": 1, "by_reason": {"empty_text": 1}}
    (run / "manifest.json").write_text(json.dumps({"records": records}))
    job = Written(tmp_path / "job.yaml", tmp_path / "runs", 3)
    of_another = Written(job.config, job.output, 4)
    found = list(trial._of_run(job, Drawn(), FINE))
    assert len(found) == len(faults)
    assert all(each.startswith(fault) for each, fault in zip(found, faults, strict=True))
    (run / "log.jsonl").write_text(f"{MARK}-0-1")
    *_, said = trial._of_run(of_another, Drawn(), FINE)
    assert said == "log.jsonl quotes an opinion"
    assert "3 records, where the shards have 4 times 1" in trial._of_run(of_another, Drawn(), FINE)
