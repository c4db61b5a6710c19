"""Five nights through the real command: the gate closes on what was planted, and nothing else."""

import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.runs.folder import RunFolder
from tests.commands.nightly.month import FIRST, WORSE, Ended, Kind, Month, planted

pytestmark = [pytest.mark.ray, pytest.mark.campaign]

KINDS: list[Kind] = ["clean", "regression", "drift", "quarantine", "clean"]


@dataclass
class Told:
    """A short month, and what its hook was told."""

    month: Month
    nights: list[Ended]
    hook: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Told:
    folder = tmp_path_factory.mktemp("month")
    hook = folder / "told.jsonl"
    script = f"import sys; open({str(hook)!r}, 'a').write(sys.stdin.read() + chr(10))"
    settings = {
        "retention": {"nights": 2},
        "notify": {"command": [sys.executable, "-c", script], "when": ["open", "closed", "failed"]},
    }
    month = Month(folder, settings=settings)
    month.begin()
    return Told(month, [month.run(*each) for each in planted(5, dict(enumerate(KINDS)))], hook)


def test_the_gate_closes_on_what_was_planted_for_its_reasons(told: Told) -> None:
    assert [ended.code for ended in told.nights] == [0, 3, 3, 3, 0]
    assert [ended.rules for ended in told.nights if not ended.as_planted] == []


def test_the_last_line_says_why_and_where_to_read_on(told: Told) -> None:
    clean, regression, drift, burst, _ = told.nights
    page = Path(clean.said[-1])
    assert page.name == "night.html"
    assert "The gate is open" in page.read_text()
    assert clean.complained == []
    [line] = regression.complained
    assert line.startswith(f"medsent: nightly, {regression.night}: the gate is closed. labels: ")
    assert all(label in line for label in WORSE)
    assert "corrected bound" in line
    assert line.endswith("night.html")
    assert Path(line.rpartition(" ")[2]).is_file()
    assert "input: prompt_tokens: stability index" in drift.complained[-1]
    assert "against the reference (and language)" in drift.complained[-1]
    assert "most as empty_text" in burst.complained[-1]


def test_a_closed_night_is_no_last_good_one(told: Told) -> None:
    first, *closed, last = told.nights
    assert first.gate.last_good is None
    assert {ended.gate.last_good for ended in [*closed, last]} == {first.gate.run}
    unasked = {ruling.message for ruling in first.gate.not_judged}
    assert "on no earlier night was the gate open" in unasked
    assert any("on no earlier night was the gate open" in line for line in first.said)


def test_the_run_and_the_history_say_the_same(told: Told) -> None:
    table = pq.read_table(told.month.index.parent / "nights.parquet")
    assert table["night"].to_pylist() == [ended.night for ended in told.nights]
    assert table["status"].to_pylist() == [ended.gate.status for ended in told.nights]
    for ended in told.nights:
        run = RunFolder(told.month.output / ended.gate.run)
        assert run.complete().night == ended.night
        assert run.config().night == ended.night
    assert str(told.nights[1].night) in told.month.index.read_text()


def test_the_hook_is_told_of_every_night(told: Told) -> None:
    bodies = [json.loads(line) for line in told.hook.read_text().splitlines()]
    assert [body["status"] for body in bodies[:5]] == ["open", "closed", "closed", "closed", "open"]
    regression = bodies[1]
    assert regression["gate"] == json.loads(
        (told.month.output / told.nights[1].gate.run / "gate.json").read_text()
    )
    assert regression["text"] in told.nights[1].complained[0]


def test_old_predictions_are_gone_and_said(told: Told) -> None:
    runs = [RunFolder(told.month.output / ended.gate.run) for ended in told.nights]
    # The last two nights, and the first: the last good one before the last.
    assert [run.holds_predictions() for run in runs] == [True, False, False, True, True]
    assert all((run.path / "night.html").exists() for run in runs)
    assert any("Retention: removed the predictions" in line for line in told.nights[3].said)
    reference = yaml.safe_load(told.month.config.read_text())["reference"]
    assert RunFolder(Path(reference)).holds_predictions()


def test_the_same_night_again_is_only_judged_again(told: Told) -> None:
    last = told.nights[-1]
    source = f"input.path={told.month.folder / 'usual'}"
    run = RunFolder(told.month.output / last.gate.run)
    before = {file: file.stat().st_mtime_ns for file in run.predictions.iterdir()}
    again = told.month.command(last.night, "clean", "--set", source)
    assert again.code == 0
    assert any("no engine is started" in line for line in again.said)
    assert again.gate == last.gate
    assert {file: file.stat().st_mtime_ns for file in run.predictions.iterdir()} == before
    assert pq.read_metadata(told.month.index.parent / "nights.parquet").num_rows == 5


def test_another_limit_judges_a_night_anew(told: Told) -> None:
    last = told.nights[-1]
    source = f"input.path={told.month.folder / 'usual'}"
    strict = ("--set", "gate.macro_f1.floor=0.99", "--set", source)
    again = told.month.command(last.night, "clean", *strict)
    assert (again.code, again.rules) == (3, {"macro_f1"})
    assert "the floor is 99.0%" in again.complained[-1]
    statuses = pq.read_table(told.month.index.parent / "nights.parquet")["status"].to_pylist()
    assert statuses == ["open", "closed", "closed", "closed", "closed"]
    assert told.month.command(last.night, "clean", "--set", source).code == 0


def test_a_night_without_a_verdict_is_told_as_well(told: Told) -> None:
    month = told.month
    night = FIRST + timedelta(days=20)
    code, _, complained = month.call(night, "--set", f"input.path={month.folder / 'nowhere'}")
    assert code == 2
    assert "there is nothing at" in complained
    last = json.loads(told.hook.read_text().splitlines()[-1])
    assert (last["status"], last["night"]) == ("failed", str(night))
    assert "the night failed. input.path: there is nothing at" in last["text"]


def test_the_index_tells_of_nights_that_failed(told: Told) -> None:
    night = FIRST + timedelta(days=20)
    rows = pq.read_table(told.month.index.parent / "nights.parquet").to_pylist()
    [row] = [row for row in rows if row["night"] == night]
    assert row["status"] == "failed"
    assert "there is nothing at" in row["message"]
    assert f"{night}: the night failed. input.path" in told.month.index.read_text()


def test_a_reference_that_cannot_be_compared_with_is_refused_at_once(told: Told) -> None:
    night = FIRST + timedelta(days=21)
    code, said, complained = told.month.call(night, "--set", "reference=runs/nowhere")
    assert code == 1
    assert "runs/nowhere is no run" in complained
    assert "Run folder" not in said
