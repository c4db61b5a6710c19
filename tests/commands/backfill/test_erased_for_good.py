"""What was erased comes back in no run of its output folder, and after no kill."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medsent.commands import erasure
from medsent.commands.backfill.export import hand_on
from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig, LabelledSettings
from medsent.commands.compare import compare_runs
from medsent.commands.erase import erase
from medsent.commands.evaluate import finish_what_was_cut_short, held, rewrite_report
from medsent.errors import LeaseError
from medsent.runs.erased import Erased, list_erased
from medsent.runs.folder import QUOTING, RunFolder
from medsent.scoring.plan import make_plan
from tests.commands.backfill.conftest import Complete
from tests.commands.backfill.opinions import write_opinions
from tests.commands.backfill.test_erase import GONE, assert_gone, held_ids, run
from tests.conftest import command

__all__ = ["run"]
pytestmark = pytest.mark.ray


def again(complete: Complete, run: Path, **groups: Any) -> Path:
    """Give the job of a copied run once more, with other settings."""
    values = {**complete.values, "output": {"path": str(run.parent)}, **groups}
    return backfill(BackfillConfig.model_validate(values)).parent


def assert_never_scored(folder: Path) -> None:
    rows = [
        row
        for file in (folder / "predictions").glob("*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
    ]
    assert not held_ids(folder) & set(GONE)
    assert sum(row["reason"] == "erased" for row in rows) == 48


@pytest.mark.parametrize(
    "groups",
    [
        {"variants": {"plain": {"method": "bits"}}},
        {"name": "another"},
        {"labelled": {"partition_by": ["persona"]}, "note": "another", "name": "third"},
    ],
    ids=["method", "name", "hand-over"],
)
def test_another_run_of_the_folder_scores_none_of_them(
    run: Path, complete: Complete, groups: dict[str, Any]
) -> None:
    erase([run], GONE)
    other = again(complete, run, **groups)
    assert other != run
    assert_never_scored(other)
    assert not Erased.read(RunFolder(other)).pending


def test_nor_do_shards_that_come_later_bring_them(run: Path, complete: Complete) -> None:
    erase([run], GONE)
    source = run.parents[1] / "in"
    shutil.copytree(complete.source, source)
    groups = {"name": "later", "input": {**complete.values["input"], "path": str(source)}}
    grown = again(complete, run, **groups)
    assert_never_scored(grown)
    write_opinions(source / "z.parquet", 14, 1)  # o14 once more, in a shard of its own
    assert again(complete, run, **groups) == grown
    assert not held_ids(grown) & set(GONE)


def test_a_job_that_runs_meanwhile_takes_them_out_before_it_ends(
    run: Path, complete: Complete
) -> None:
    """Its blocks were written before the opinions were listed."""
    (run / "manifest.json").unlink()
    with held(RunFolder(run)):
        done = command("erase", str(run), *(f"--opinion-id={name}" for name in GONE))
    assert done.returncode == 1
    assert "held by another job" in done.stderr
    assert held_ids(run) & set(GONE)
    assert again(complete, run) == run
    assert_gone(run)


def test_what_is_listed_after_the_last_block_is_not_handed_on(
    run: Path, complete: Complete
) -> None:
    shutil.rmtree(run / "labelled")
    list_erased(run.parent, GONE)
    values = {**complete.values, "output": {"path": str(run.parent)}}
    config = BackfillConfig.model_validate(values)
    hand_on(make_plan(config.job()), RunFolder(run), LabelledSettings())
    names = {
        name
        for file in (run / "labelled").rglob("*.parquet")
        for name in pq.ParquetFile(file).read()["opinion_id"].to_pylist()
    }
    assert names
    assert not names & set(GONE)


def test_other_runs_of_the_folder_are_named_and_their_next_command_ends_it(
    run: Path, complete: Complete, said: list[str]
) -> None:
    other = run.with_name("chaos-0123456789ab")
    shutil.copytree(run, other)
    erase([run], GONE)
    assert [line for line in said if line.startswith(f"Not looked into: {other.name}, in ")]
    assert held_ids(other) & set(GONE)
    assert command("report", str(other)).returncode == 0
    assert_gone(other)
    said.clear()
    erase([run], GONE)
    assert not [line for line in said if line.startswith("Not looked into")]


def test_all_that_stands_beside_runs_may_be_named(
    run: Path, complete: Complete, said: list[str]
) -> None:
    """As `medsent erase --opinion-ids FILE runs/*` does."""
    other = run.with_name("chaos-0123456789ab")
    shutil.copytree(run, other)
    report = compare_runs(run, other, (None, None), None)
    history = run.parent / "chaos-history"
    history.mkdir()
    (history / "nights.parquet").write_bytes(b"")
    (run / "gate.json").write_text("{}")
    erase(sorted(run.parent.iterdir()), GONE)
    assert_gone(run)
    assert_gone(other)
    assert list(report.parent.iterdir()) == []
    told = "\n".join(said)
    for passed in (report.parent, history):
        assert f"Passed over: {passed}, " in told
    assert f"{run / 'gate.json'} keeps the night's verdict" in told
    erase(sorted(run.parent.iterdir()), GONE)
    assert f"Passed over: {run.parent / 'erased'}, " in "\n".join(said)


class Killed(BaseException):
    """In the place of kill -9: nothing handles it."""


def killed_before(patch: pytest.MonkeyPatch, run: Path, step: int) -> Callable[[], bool]:
    """Let so many changes of a run's files go through, and none after them; tell whether one was.

    A change is a file that gets its name, or loses it.
    """
    left, dead = [step], []

    def guarded(change: Callable[..., None]) -> Callable[..., None]:
        def changed(path: Any, *others: Any, **options: Any) -> None:
            if str(path).startswith(str(run)):
                left[0] -= 1
                if left[0] < 0:
                    dead.append(path)
                    raise Killed
            change(path, *others, **options)

        return changed

    for name in ("replace", "unlink"):
        patch.setattr(os, name, guarded(getattr(os, name)))
    patch.setattr(erasure, "_WORKERS", 1)
    return lambda: bool(dead)


def test_a_kill_between_any_two_steps_is_made_good(complete: Complete, tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        run = tmp_path / str(step) / complete.run.name
        shutil.copytree(complete.run, run)
        for name in QUOTING:
            (run / name).write_text("an opinion that was quoted")
        list_erased(run.parent, GONE)
        with pytest.MonkeyPatch.context() as patch:
            dead = killed_before(patch, run, step)
            with contextlib.suppress(Killed):
                erasure.erase(RunFolder(run), GONE)
            killed = dead()
        finish_what_was_cut_short(RunFolder(run))
        assert not held_ids(run) & set(GONE), step
        assert not [name for name in QUOTING if (run / name).exists()], step
        now = Erased.read(RunFolder(run))
        assert (len(now.found), now.pending) == (len(GONE), False), step
        told = json.loads((run / "manifest.json").read_text())["records"]["by_reason"]
        assert told == {"erased": 48, "empty_text": 32}, step
        shutil.rmtree(run)
        step += 1
    assert step > 10


def test_nothing_is_quoted_while_a_run_is_worked_on(run: Path) -> None:
    with held(RunFolder(run)), pytest.raises(LeaseError):
        rewrite_report(run, 3)


def test_a_report_that_quotes_is_of_its_own_and_its_owners_alone(run: Path) -> None:
    (run / "report.html").write_text("the plain one")
    erase([run], GONE)
    report = rewrite_report(run, 3)
    assert report.name == "report-with-opinions.html"
    for name in QUOTING:
        assert (run / name).stat().st_mode & 0o777 == 0o600
    erase([run], {"o4": "line 1"})
    assert not [name for name in QUOTING if (run / name).exists()]
