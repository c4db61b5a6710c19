"""`medsent check` tells what it does not read."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands import check as checkup
from medsent.commands.check import check, tell
from medsent.commands.evaluate import evaluate
from medsent.config.job import JobConfig
from medsent.errors import ConfigError, InputError, RunError, StorageError
from medsent.runs.log import Scored, Started
from medsent.scoring.cluster import Capacity
from medsent.scoring.identity import versions
from medsent.scoring.opening import run_of
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder, logged
from tests.input.test_unreadable import corrupt

HERE = Capacity(4, 0, 0, ((4, 0),))


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_: Any) -> None:
        raise ConfigError("there is none")

    monkeypatch.setattr(checkup, "check_cluster", lacking)


def told(job: JobBuilder, source: Path) -> dict[str, str]:
    with logged() as said:
        tell(make_plan(job(input={"path": str(source)})), here=False)
    return {line[:15].strip(): line[16:] for line in said}


def test_what_is_passed_over_is_counted_and_named(
    tmp_path: Path, demo_shard: Path, job: JobBuilder
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(demo_shard, source / "a.parquet")
    assert "Passed over" not in told(job, source)
    (source / "_SUCCESS").touch()
    (source / "notes\r.txt").touch()
    assert told(job, source)["Passed over"] == (
        f"2 files that are no shards by their names: {source}/_SUCCESS, {source}/notes\\r.txt"
    )
    for number in range(1000):
        (source / f"_{number:04}.parquet").touch()
    line = told(job, source)["Passed over"]
    assert line.startswith("1,002 files that are no shards by their names: ")
    assert line.endswith("_0004.parquet and 997 more")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Callable[[JobConfig], list[str]]:
    """Return `check`, on a machine of four CPUs, as the lines that it says."""

    def lines(config: JobConfig) -> list[str]:
        monkeypatch.setattr(checkup, "check_cluster", lambda _: HERE)
        said.clear()
        check(config)
        return list(said)

    return lines


Checked = Callable[[JobConfig], list[str]]


def shard(folder: Path, source: Path, **columns: Any) -> dict[str, str]:
    """Write the demo's rows with some columns replaced; return the input's settings."""
    table = pq.read_table(source)
    for name, values in columns.items():
        table = table.drop([name]).append_column(name, pa.array(values(table.num_rows)))
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "a.parquet")
    return {"path": str(folder)}


def test_ready_says_engines_gold_time_and_price(checked: Checked, job: JobBuilder) -> None:
    said = checked(job(price={"per_replica_hour": 2.5, "currency": "EUR"}))
    lines = {line[:15].strip(): line[16:] for line in said[:-1]}
    assert lines["Engines"].startswith("1 engine, each of 1 logical CPU and no GPU")
    assert lines["Gold"] == "24 of 24 records that were looked at have it"
    assert lines["Time"].startswith("unknown: no run of this name")
    assert lines["Price"] == "unknown, as the time is; its engines cost 2.50 EUR an hour"
    assert said[-1] == "Ready: start the job by its command with the same file (time unknown)."


def test_time_and_price_are_by_the_latest_run(checked: Checked, job: JobBuilder) -> None:
    config = job(price={"per_replica_hour": 2.0})
    run = run_of(make_plan(config))
    run.path.mkdir(parents=True)
    run.log(Scored(start_up_s=3600.0, total_s=3600.0 + 12 * 300.0, records=12))
    said = checked(config)
    lines = {line[:15].strip(): line[16:] for line in said[:-1]}
    assert lines["Time"] == f"about 3.00 hours on what {run.path.name} had (1.0 engines)"
    assert lines["Price"] == "about 3.00 replica hours, 6.00 USD"
    assert said[-1].endswith(f"(about 180 min on what the last run had ({run.path.name})).")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"persona": lambda n: ["annotator_3"] * n}, ("24 unknown_persona", "personas: FILE")),
        ({"text": lambda n: [" "] * n}, ("24 empty_text", "input.columns.text")),
        (
            {"text": lambda n: ["\u200b"] * 12 + ["w" * 1_000_000] * (n - 12)},
            ("12 empty_text", "12 too_long"),
        ),
    ],
)
def test_a_job_of_which_nothing_could_be_scored_is_not_ready(
    checked: Checked,
    tmp_path: Path,
    demo_shard: Path,
    job: JobBuilder,
    columns: dict[str, Any],
    told: tuple[str, ...],
) -> None:
    with pytest.raises(InputError, match="not one of 24 records that were looked at") as caught:
        checked(job(input=shard(tmp_path / "in", demo_shard, **columns)))
    for part in told:
        assert part in str(caught.value)


def test_one_good_record_is_enough(
    checked: Checked, tmp_path: Path, demo_shard: Path, job: JobBuilder
) -> None:
    source = shard(tmp_path / "in", demo_shard, text=lambda n: ["x"] + [""] * (n - 1))
    assert checked(job(input=source))[-1].startswith("Ready")


@pytest.mark.ray
def test_a_run_that_has_scored_nothing_fails_with_the_reason(
    cluster: None, tmp_path: Path, demo_shard: Path, job: JobBuilder
) -> None:
    source = shard(tmp_path / "in", demo_shard, persona=lambda n: ["annotator_3"] * n)
    config = job(input=source)
    for _ in range(2):  # complete, it is no success either
        with pytest.raises(RunError, match="has scored none of its 24 records: 24 unknown_pers"):
            evaluate(config)
    run = run_of(make_plan(config))
    assert (run.path / "report.html").is_file()
    assert RunError.exit_code == 1


def test_a_job_whose_run_cannot_go_on_is_not_ready(checked: Checked, job: JobBuilder) -> None:
    run = run_of(make_plan(job()))
    run.path.mkdir(parents=True)
    run.log(Started(done=0, versions={**versions(), "torch": "0.1"}))
    with pytest.raises(RunError, match="begun with other versions: torch"):
        checked(job())
    assert checked(job(output={"path": str(run.path.parent), "mix_versions": True}))[-1]


def test_languages_without_words_are_told(
    checked: Checked, tmp_path: Path, demo_shard: Path, job: JobBuilder
) -> None:
    tags = ["pl-PL", "Polish", "xx", "x" * 300, "", None]
    source = shard(tmp_path / "in", demo_shard, language=lambda n: (tags * n)[:n])
    [told] = [line for line in checked(job(input=source)) if line.startswith("Warning")]
    assert "8 of 24 records that were looked at are in a language that the job has no words" in told
    assert "(xx 4, another value 4; it has en, pl)" in told


@pytest.mark.parametrize("place", ["file", "file/runs"])
def test_an_output_that_is_no_folder_is_refused(
    checked: Checked, tmp_path: Path, job: JobBuilder, place: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output\.path: .* is no folder"):
        checked(job(output={"path": str(tmp_path / place)}))


def test_an_output_that_cannot_be_written_to_is_refused(checked: Checked, job: JobBuilder) -> None:
    with pytest.raises(StorageError, match="cannot write to /proc"):
        checked(job(output={"path": "/proc/runs"}))


def test_a_name_that_is_too_long_is_refused(
    checked: Checked, tmp_path: Path, job: JobBuilder
) -> None:
    with pytest.raises(StorageError, match="cannot write to"):
        checked(job(output={"path": str(tmp_path / ("x" * 300))}))


def test_trying_an_output_leaves_nothing_there(
    checked: Checked, tmp_path: Path, job: JobBuilder
) -> None:
    config = job(output={"path": str(tmp_path / "deep" / "runs")})
    before = sorted(tmp_path.rglob("*"))
    checked(config)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_shard_that_is_damaged_inside_stops_no_job_that_would_quarantine_it(
    tmp_path: Path, demo_shard: Path, job: JobBuilder, checked: Callable[[JobConfig], list[str]]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        shutil.copy(demo_shard, source / f"{name}.parquet")
    corrupt(source / "b.parquet", "text", header=True)
    found = checked(job(input={"path": str(source), "on_bad_shard": "quarantine"}))
    assert found[-1].startswith("Ready: ")
    [bad] = [line for line in found if line.startswith("Bad shard")]
    assert "b.parquet is damaged inside" in bad
    with pytest.raises(InputError, match=r"b\.parquet is damaged inside"):
        checked(job(input={"path": str(source)}))
    corrupt(source / "a.parquet", "text", header=True)
    with pytest.raises(InputError, match=r"a\.parquet is damaged inside.*; .*b\.parquet is"):
        checked(job(input={"path": str(source), "on_bad_shard": "quarantine"}))
