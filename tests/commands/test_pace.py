"""How long a job takes is told from the run of its name that scored last."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from medsent.commands.pace import Pace
from medsent.errors import RunError
from medsent.runs.folder import RunFolder
from medsent.runs.log import Scored
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder


def scored(run: Path, day: int, start_up_s: float, scoring_s: float, records: int) -> RunFolder:
    """Log a session that came to its end on a day."""
    run.mkdir(parents=True, exist_ok=True)
    at, total_s = datetime(2026, 1, day, tzinfo=UTC), start_up_s + scoring_s
    folder = RunFolder(run)
    folder.log(Scored(at=at, start_up_s=start_up_s, total_s=total_s, records=records))
    return folder


def test_a_pace_is_that_of_all_sessions_and_the_last_start(tmp_path: Path) -> None:
    scored(tmp_path, 1, 30.0, 10.0, 10)
    run = scored(tmp_path, 2, 4.0, 50.0, 50)
    scored(tmp_path, 3, 9.0, 0.0, 0)  # which was stopped before it had scored anything
    pace = Pace.of(run)
    assert pace is not None
    assert (pace.start_up_s, pace.s_per_record) == (4.0, 1.0)
    assert (pace.seconds(20), pace.seconds(0)) == (24.0, 0.0)


def test_a_log_that_cannot_be_read_counts_as_none(job: JobBuilder, tmp_path: Path) -> None:
    plan = make_plan(job())
    good = scored(tmp_path / "runs" / "scripted-a", 1, 1.0, 3.0, 1)
    for name, line in (("b", b'{"event": "scored", "records": "many"}\n'), ("c", b"\xff\n")):
        folder = tmp_path / "runs" / f"scripted-{name}"
        folder.mkdir()
        (folder / "log.jsonl").write_bytes(line)
    with pytest.raises(RunError):
        Pace.of(RunFolder(tmp_path / "runs" / "scripted-b"))
    pace = Pace.latest(plan)
    assert pace is not None
    assert pace.run.path.name == good.path.name


def test_the_run_of_the_name_that_scored_last_counts(job: JobBuilder, tmp_path: Path) -> None:
    plan = make_plan(job())
    runs = tmp_path / "runs"
    assert Pace.latest(plan) is None
    (runs / "scripted-none").mkdir(parents=True)
    assert Pace.latest(plan) is None
    scored(runs / "scripted-z", 1, 1.0, 1.0, 1)
    scored(runs / "scripted-a", 2, 1.0, 3.0, 1)
    scored(runs / "other-a", 3, 1.0, 5.0, 1)
    pace = Pace.latest(plan)
    assert pace is not None
    assert (pace.run.path.name, pace.s_per_record) == ("scripted-a", pytest.approx(3.0))
