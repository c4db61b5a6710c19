"""A backlog labelled: one outcome a record, however often it is stopped and whatever comes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.commands import evaluate
from medsent.commands.backfill import budget
from medsent.commands.backfill.budget import Meter, Spent
from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.evaluate import requeue
from medsent.commands.requeue import Selection
from medsent.errors import StoppedError
from medsent.runs.folder import RunFolder
from medsent.runs.log import Scored, Started
from medsent.scoring.opening import run_of
from medsent.scoring.plan import make_plan
from medsent.scoring.stop import Stop
from tests.chaos.job import REPOSITORY
from tests.commands.backfill.conftest import Complete, Config
from tests.commands.backfill.opinions import PERSONAS, expected, outcomes, write_opinions

pytestmark = pytest.mark.ray

PATIENCE_S = 400


def manifest(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return values


def whole_rows(run: Path) -> Counter[str]:
    """Return how many records each input row has."""
    return Counter(record for record, _ in outcomes(run))


def test_every_opinion_is_read_by_every_persona_once(complete: Complete) -> None:
    assert outcomes(complete.run) == expected(complete.source)
    records = manifest(complete.run)["records"]
    assert records["input"] == 25 * len(PERSONAS)
    # A row that cannot be scored is a quarantined record of each persona.
    assert records["by_reason"] == {"empty_text": 2 * len(PERSONAS)}
    assert records["duplicate_record_ids"] == 0


def test_the_records_of_a_row_are_in_one_file(complete: Complete) -> None:
    for file in (complete.run / "predictions").glob("*.parquet"):
        rows = Counter(pq.ParquetFile(file).read()["row_hash"].to_pylist())
        assert set(rows.values()) == {len(PERSONAS)}
        assert sum(rows.values()) <= 64


def test_new_shards_are_scored_alone(complete: Complete) -> None:
    before = complete.said.index("-- a shard came --")
    assert any(line.startswith("Resuming: 320 of 400 records") for line in complete.said[before:])
    starts = RunFolder(complete.run).events(Scored)
    assert [event.records for event in starts] == [320, 80]
    assert complete.said[-1] == str(complete.run / "report.html")


def test_a_complete_backfill_starts_nothing(
    complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "score", lambda *_: pytest.fail("something was started"))
    files = {f: f.stat().st_mtime_ns for f in (complete.run / "labelled").rglob("*.parquet")}
    backfill(BackfillConfig.model_validate(complete.values))
    again = {f: f.stat().st_mtime_ns for f in (complete.run / "labelled").rglob("*.parquet")}
    assert again == files


def test_rows_may_name_their_persona(config: Config, source: Path, cluster: None) -> None:
    file = source / "a.parquet"
    table = pq.read_table(file)
    for shard in (file, source / "b.parquet"):
        table = pq.read_table(shard)
        pq.write_table(table.append_column("persona", [["surgeon"] * table.num_rows]), shard)
    run = backfill(config(input={"path": str(source)})).parent
    assert set(outcomes(run)) == {(f"r{number}", "surgeon") for number in range(20)}


class Clock:
    """A clock of which each committed block takes ten seconds."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs

    def monotonic(self) -> float:
        return 10.0 * len(committed(self._runs))


def committed(runs: Path) -> list[Path]:
    return list(runs.glob("*/predictions/*.parquet"))


def test_a_budget_stops_a_run_and_another_ends_it(
    config: Config, source: Path, tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "time", Clock(tmp_path / "runs"))
    slow = {"kind": "scripted", "rows_per_block": 32, "latency_s": 0.3, "max_num_seqs": 16}
    price = {"per_replica_hour": 3600.0}  # a second costs 1
    stopped = config(engine=slow, budget={"money": 20.0}, price=price)
    with pytest.raises(StoppedError) as caught:
        backfill(stopped)
    told = str(caught.value)
    [run] = (tmp_path / "runs").iterdir()
    done = outcomes(run)
    assert 0 < len(done) < 320
    assert (
        f"stopped (the budget of 20 USD is used up, so raise it first): {len(done)} of 320 records"
        in told
    )
    assert set(whole_rows(run).values()) == {len(PERSONAS)}
    spent = Spent.read(RunFolder(run))
    assert spent.replica_s >= 20
    times = (320 - len(done)) / len(done)
    rest = Spent(replica_s=spent.replica_s * times).told(stopped)
    assert told.endswith(
        f"The run has cost {spent.told(stopped)} so far; the other {320 - len(done)} records "
        f"take about {rest} more"
    )
    # What is done is handed on, and the same command again starts nothing.
    assert sum(pq.read_metadata(f).num_rows for f in (run / "labelled").rglob("*.parquet"))
    with pytest.raises(StoppedError, match="the budget of 20 USD is used up"):
        backfill(stopped)
    assert len(RunFolder(run).events(Started)) == 1
    backfill(config(engine=slow | {"latency_s": 0.0}, budget={"hours": 1.0}, price=price))
    assert outcomes(run) == expected(source)


def test_a_budget_of_hours_is_each_commands_own(
    config: Config, tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "time", Clock(tmp_path / "runs"))
    slow = {"kind": "scripted", "rows_per_block": 32, "latency_s": 0.3, "max_num_seqs": 16}
    stopped = config(engine=slow, budget={"hours": 0.005})  # 18 s
    with pytest.raises(StoppedError, match=r"the budget of 0\.005 hours is used up"):
        backfill(stopped)
    [run] = (tmp_path / "runs").iterdir()
    assert 2 * 32 <= len(outcomes(run)) < 320
    assert not Meter(stopped, RunFolder(run), Stop()).used_up


def test_a_budget_that_is_used_up_before_anything_is_scored_is_told(
    config: Config, complete: Complete, tmp_path: Path, cluster: None
) -> None:
    spent = {"budget": {"money": 20.0}, "price": {"per_replica_hour": 3600.0}}
    settings = config(reference=str(complete.run), **spent)
    run = run_of(make_plan(settings.job()))
    run.path.mkdir(parents=True)
    Spent(wall_s=100.0, replica_s=100.0).write(run)
    with pytest.raises(StoppedError, match="the budget of 20 USD is used up"):
        backfill(settings)
    assert not run.holds_predictions()


def test_a_used_up_budget_does_not_keep_a_finished_run_from_closing(
    config: Config, source: Path, tmp_path: Path, cluster: None
) -> None:
    (source / "broken.parquet").write_bytes(b"no Parquet")
    quarantine = {"path": str(source), "fan_out": "personas", "on_bad_shard": "quarantine"}
    run = backfill(config(input=quarantine)).parent
    (run / "manifest.json").unlink()
    price = {"per_replica_hour": 3600.0}
    Spent(wall_s=100.0, replica_s=100.0).write(RunFolder(run))
    backfill(config(input=quarantine, budget={"money": 20.0}, price=price))
    assert manifest(run)["records"]["input"] == 320


def test_it_survives_kill_9_and_goes_on(
    config: Config, tmp_path: Path, source: Path, joining: dict[str, str], said: list[str]
) -> None:
    slow = {"kind": "scripted", "rows_per_block": 64, "latency_s": 0.2, "max_num_seqs": 16}
    settings = config(engine=slow)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    command = [sys.executable, str(REPOSITORY / "jobs" / "backfill.py"), str(file)]
    environment = {**os.environ, **joining}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as job:
        run = _once_blocks_are_done(tmp_path / "runs", 2)
        job.send_signal(signal.SIGKILL)
    write_opinions(source / "c.parquet", 20, 5)
    said.clear()
    faster = config(engine=slow | {"latency_s": 0.0})
    assert backfill(faster) == run / "report.html"
    assert any(line.startswith("Resuming:") for line in said)
    assert outcomes(run) == expected(source)
    labelled = [pq.ParquetFile(file).read() for file in (run / "labelled").rglob("*.parquet")]
    rows = Counter(row for table in labelled for row in table["record_id"].to_pylist())
    assert set(rows.values()) == {len(PERSONAS)}
    assert len(rows) == 25 - 2


def _once_blocks_are_done(runs: Path, blocks: int) -> Path:
    for _ in range(PATIENCE_S * 10):
        if len(ids := committed(runs)) >= blocks:
            return ids[0].parents[1]
        time.sleep(0.1)
    pytest.fail("the job committed nothing")


def test_a_requeue_scores_every_record_of_a_row(
    complete: Complete, tmp_path: Path, said: list[str]
) -> None:
    """Of one whose records stand together no part is scored again."""
    run = Path(shutil.copytree(complete.run, tmp_path / complete.run.name))
    file = min((run / "predictions").glob("*.parquet"))
    rows = pq.ParquetFile(file).read()
    row = rows["row_hash"][0].as_py()
    reasons = ["engine_killer", *rows["reason"].to_pylist()[1:]]
    place = rows.column_names.index("reason")
    pq.write_table(rows.set_column(place, rows.schema.field(place), [reasons]), file)
    said.clear()
    requeue(run, Selection(status="engine_killer"))
    assert f"Requeued 16 records of {run}" in said
    older = (
        f"{run / 'labelled'} is older than these answers; `medsent backfill` brings it up to date"
    )
    assert said[-1] == older
    assert outcomes(run) == expected(complete.source)
    again = [pq.ParquetFile(f).read() for f in (run / "predictions").glob("*.parquet")]
    assert any(row in table["row_hash"].to_pylist() for table in again)
    assert "engine_killer" not in manifest(run)["records"]["by_reason"]


def test_whichever_command_scores_for_a_run_its_cost_is_counted(
    complete: Complete, tmp_path: Path
) -> None:
    """A budget of money is over all of them."""
    run = tmp_path / "runs" / complete.run.name
    shutil.copytree(complete.run, run)
    (run / "spent.json").write_text(Spent().to_json())
    requeue(run, Selection(shard=str(complete.source / "a.parquet")))
    assert Spent.read(RunFolder(run)).replica_s > 0
