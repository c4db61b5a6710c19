"""Opinions taken out of runs: nothing of them stays, and nobody scores them again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.erase import erase
from medsent.commands.evaluate import held, requeue
from medsent.commands.requeue import Selection
from medsent.errors import RunError, UsageError
from medsent.report.write import write_report
from medsent.runs.folder import QUOTING, RunFolder
from tests.commands.backfill.conftest import Complete
from tests.commands.backfill.opinions import outcomes
from tests.conftest import command

pytestmark = pytest.mark.ray

GONE = {"o3": "line 1", "o14": "line 2", "o21": "line 3"}
"""Ids, each to where it was given."""

KILLED = """
import os, sys
from medsent.commands import erasure
from medsent.cli import main
real, left = erasure.rewrite, [int(sys.argv.pop(1))]
def rewrite(file, rows):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    real(file, rows)
erasure._WORKERS, erasure.rewrite = 1, rewrite
main(sys.argv[1:])
"""


@pytest.fixture
def run(complete: Complete, tmp_path: Path) -> Path:
    """A copy of a complete run, whose report quotes an opinion."""
    folder = tmp_path / "runs" / complete.run.name
    shutil.copytree(complete.run, folder)
    for name in ("report.html", *QUOTING):
        (folder / name).write_text("an opinion that was quoted")
    return folder


def parquet_files(run: Path) -> list[Path]:
    return [f for name in ("predictions", "labelled") for f in (run / name).rglob("*.parquet")]


def held_ids(run: Path) -> set[str]:
    return {
        name
        for file in parquet_files(run)
        for name in pq.ParquetFile(file).read()["opinion_id"].to_pylist()
    }


def holding(run: Path) -> list[Path]:
    """Return the files that hold the opinions."""
    found = ((f, pq.ParquetFile(f).read()["opinion_id"].to_pylist()) for f in parquet_files(run))
    return [file for file, names in found if set(names) & set(GONE)]


def assert_gone(run: Path) -> None:
    assert not held_ids(run) & set(GONE)
    for file in [*run.glob("*.json"), *run.glob("*.jsonl")]:
        content = file.read_bytes()
        assert not any(f'"{name}"'.encode() in content for name in GONE), file
    records = json.loads((run / "manifest.json").read_text())["records"]
    assert records["by_reason"] == {"erased": 48, "empty_text": 32}
    assert records["input"] == 400 == records["scored"] + records["quarantined"]
    assert records["duplicate_record_ids"] == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["records"]["by_reason"] == records["by_reason"]
    assert "quoted" not in (run / "report.html").read_text()
    assert not [name for name in QUOTING if (run / name).exists()]


def test_nothing_of_them_is_left(run: Path, said: list[str]) -> None:
    files = holding(run)
    predicted = sum(file.parent.name == "predictions" for file in files)
    said.clear()
    last = erase([run], GONE)
    assert last == "Erased 48 records of 3 opinions in 1 runs"
    assert said[0] == (
        f"{run}: 48 records erased, {predicted} files of predictions rewritten; 48 labelled rows "
        f"removed, {len(files) - predicted} files rewritten; report made again"
    )
    assert {line for line in said if "rewritten: " in line} == {
        f"  rewritten: {file}" for file in files
    }
    assert_gone(run)
    blanked = [
        row
        for file in (run / "predictions").glob("*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
        if row["reason"] == "erased"
    ]
    assert len({(row["row_hash"], row["persona"]) for row in blanked}) == len(blanked) == 48
    for row in blanked:
        told = {name for name, value in row.items() if value is not None}
        assert told == {"row_hash", "path", "persona", "outcome", "reason"}


def test_what_a_kill_left_behind_goes_too(run: Path) -> None:
    file = min((run / "predictions").glob("*.parquet"))
    left = [
        shutil.copy(file, file.with_name(f".{file.name}.partial")),
        shutil.copy(run / "report.html", run / ".report.html.17"),
    ]
    erase([run], GONE)
    assert not [path for path in left if Path(path).exists()]


def test_rows_on_their_way_out_at_a_kill_go_too(run: Path) -> None:
    staged = run / "labelled" / "_staged" / "_raw" / "part-0.parquet"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"PAR1 cut short")
    erase([run], GONE)
    assert_gone(run)
    assert not staged.exists()


def test_of_an_old_night_the_figures_stay(run: Path) -> None:
    """Retention has removed its predictions."""
    write_report(RunFolder(run), RunFolder(run).config(), RunFolder(run).complete())
    (run / "report.html").write_text("an opinion that was quoted")
    figures = (run / "metrics.json").read_bytes()
    RunFolder(run).drop_predictions()
    erase([run], GONE)
    assert (run / "metrics.json").read_bytes() == figures
    assert "quoted" not in (run / "report.html").read_text()
    assert not json.loads((run / "erased.json").read_text())["pending"]


def test_one_run_that_is_held_does_not_keep_the_others(run: Path, tmp_path: Path) -> None:
    held_run = tmp_path / "held" / run.name
    shutil.copytree(run, held_run)
    with held(RunFolder(held_run)), pytest.raises(RunError, match="1 of 2 runs") as caught:
        erase([held_run, run], GONE)
    assert f"{held_run}: " in str(caught.value)
    assert_gone(run)
    assert held_ids(held_run) & set(GONE)


@pytest.mark.parametrize(
    "content",
    [
        b"o3\no14\no21\n",
        b"\xef\xbb\xbfo3\r\no14\r\no21",
        b"\n  o3\t\n\n\xc2\xa0o14 \n\xe2\x80\x8bo21\r\n\n",
    ],
    ids=["plain", "of Windows", "with white space"],
)
def test_the_ids_may_come_in_a_file(run: Path, tmp_path: Path, content: bytes) -> None:
    ids = tmp_path / "ids"
    ids.write_bytes(content)
    done = command("erase", str(run), "--opinion-ids", str(ids))
    assert (done.returncode, done.stderr) == (0, "")
    assert_gone(run)


def test_ids_that_cannot_be_read_are_refused(run: Path, tmp_path: Path) -> None:
    assert command("erase", str(run)).returncode == 2
    ids = tmp_path / "ids"
    ids.write_text("o3\n", encoding="utf-16")
    done = command("erase", str(run), "--opinion-ids", str(ids))
    assert done.returncode == 2
    assert "is no UTF-8" in done.stderr
    assert "o3" in held_ids(run)
    assert not (run.parent / "erased").exists()


def test_ids_that_no_run_holds_are_named_by_their_lines(run: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    ids.write_text("o3\nO14\no21\nsecret-name\n")
    done = command("erase", str(run), "--opinion-ids", str(ids), "--opinion-id", "o14")
    assert done.returncode == 1
    assert "3 of 5 opinions were found and erased" in done.stderr
    assert "no run holds an opinion of these ids: line 2, line 4." in done.stderr
    assert "secret-name" not in done.stderr + done.stdout
    assert_gone(run)
    again = command("erase", str(run), *(f"--opinion-id={name}" for name in GONE))
    assert (again.returncode, again.stderr) == (0, ""), "they were found before"


def test_all_else_stays(run: Path, complete: Complete) -> None:
    before, labelled = outcomes(run), _labelled(run)
    erase([run], GONE)
    assert sum(outcomes(run).values()) == sum(before.values())
    gone = {f"r{name[1:]}" for name in GONE}
    kept = {key: n for key, n in before.items() if key[0] not in gone}
    assert {key: n for key, n in outcomes(run).items() if key[0] is not None} == kept
    assert _labelled(run) == {key for key in labelled if key[0] not in gone}
    for file in (run / "labelled").rglob("*.parquet"):
        assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def _labelled(run: Path) -> set[tuple[str, str]]:
    return {
        (row["record_id"], row["persona"])
        for file in (run / "labelled").rglob("*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
    }


@pytest.mark.parametrize("at", [0, 1, -1], ids=["first", "second", "last"])
def test_a_kill_midway_loses_nothing_and_the_same_command_ends_it(run: Path, at: int) -> None:
    """Kill -9 before the first file is rewritten, the second, the last."""
    killed = kill_erasing(run, range(len(holding(run)))[at])
    assert killed.returncode == -9
    assert held_ids(run) & set(GONE)
    assert not (run / "report.html").exists()
    done = command(*arguments(run))
    assert done.returncode == 0, done.stderr
    assert_gone(run)


def arguments(run: Path) -> list[str]:
    return ["erase", str(run), *(f"--opinion-id={name}" for name in GONE)]


def kill_erasing(run: Path, rewritten: int) -> "subprocess.CompletedProcess[bytes]":
    """Run the command until it has rewritten so many files."""
    killed = [sys.executable, "-c", KILLED, str(rewritten), *arguments(run)]
    return subprocess.run(killed, capture_output=True, check=False)


def test_another_command_ends_it_too_and_none_scores_them_again(
    run: Path, complete: Complete
) -> None:
    """Though all rows of their shard are read again."""
    assert kill_erasing(run, 1).returncode == -9
    requeue(run, Selection(shard=str(complete.source / "a.parquet")))
    assert_gone(run)


def test_an_incomplete_run_goes_on_without_them(
    run: Path, complete: Complete, said: list[str]
) -> None:
    (run / "manifest.json").unlink()
    said.clear()
    erase([run], GONE)
    assert said[0].endswith("the run is not complete yet")
    assert not held_ids(run) & set(GONE)
    values = {**complete.values, "output": {"path": str(run.parent)}}
    backfill(BackfillConfig.model_validate(values))
    assert_gone(run)


def test_an_opinion_that_is_nowhere_is_told(run: Path, said: list[str]) -> None:
    with pytest.raises(RunError, match="0 of 1 opinions were found"):
        erase([run], {"nobody": "--opinion-id nobody"})
    assert "holds no record of them" in said[0]


def test_what_cannot_be_meant_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an id is empty"):
        erase([run], {"": "--opinion-id"})
    with pytest.raises(RunError, match="is no run"):
        erase([run, tmp_path], {"o3": "line 1"})
    assert "o3" in held_ids(run)


def test_the_list_holds_no_id(run: Path) -> None:
    erase([run], GONE)
    listed = yaml.safe_load((run / "erased.json").read_text())
    assert len(listed["opinions"]) == 3
    assert listed["found"] == listed["opinions"]
    assert not listed["pending"]
    [of_all] = (run.parent / "erased").glob("*.json")
    assert json.loads(of_all.read_text()) == {"opinions": listed["opinions"]}
    assert not set(listed["opinions"]) & set(GONE)
