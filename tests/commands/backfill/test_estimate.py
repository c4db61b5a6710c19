"""What `--dry-run` says, and which opinions `--limit` and `--sample` take."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.cli import main
from medsent.commands import check
from medsent.commands.backfill.budget import Spent
from medsent.commands.backfill.estimate import estimate
from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.drift import DriftSettings
from medsent.config.job import JobConfig
from medsent.config.loader import load_settings
from medsent.errors import ConfigError, InputError
from medsent.runs.folder import RunFolder
from medsent.runs.log import Scored
from medsent.scoring.plan import make_plan
from tests.commands.backfill.conftest import Complete, Config
from tests.commands.backfill.opinions import PERSONAS, outcomes, write_opinions
from tests.conftest import logged


def told(complete: Complete, **groups: object) -> dict[str, str]:
    with logged() as said:
        last = estimate(BackfillConfig.model_validate({**complete.values, **groups}))
    return {line[:15].strip(): line[16:] for line in [*said, last]}


@pytest.mark.ray
def test_it_counts_what_is_left(complete: Complete, tmp_path: Path) -> None:
    lines = told(complete)
    assert lines["Input"] == "400 records in 3 shards, each row read by 16 personas"
    assert lines["Run"] == f"{complete.run}: 400 records done, 0 left"
    assert lines["Price"].endswith("0.00 USD")
    files = sorted(complete.run.rglob("*"))
    folder = complete.folder / "more"
    for file in complete.source.iterdir():
        (folder / file.name).parent.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    other = {"path": str(folder), "fan_out": "personas"}
    with pytest.raises(InputError, match="is no longer in the input"):  # as the job itself
        told(complete, input=other)
    lines = told(complete, input=other, name="another")
    assert lines["Run"].endswith("0 records done, 400 left")  # other files, though alike
    assert sorted(complete.run.rglob("*")) == files


@pytest.mark.ray
def test_time_and_price_are_those_of_the_last_run(complete: Complete) -> None:
    """Of 1,000 times the records at the same pace."""
    run = RunFolder(complete.run)
    events = run.events(Scored)
    scoring_s = sum(event.scoring_s for event in events)
    lines = told(complete, name="chaos-0")
    assert lines["Time"].startswith("unknown: no run of this name")
    lines = told(complete, variants={"other": {"method": "onepass"}})
    assert lines["Run"].endswith("0 records done, 400 left")
    hours = (events[-1].start_up_s + scoring_s) / 3600
    assert lines["Time"] == f"about {hours:.2f} hours on what {run.path.name} had (1.0 engines)"
    assert lines["Price"] == f"about {hours:.2f} replica hours, {2.5 * hours:.2f} USD"


def taken(config: BackfillConfig) -> set[str]:
    """Return the opinions that a job takes, by its plan alone."""
    plan = make_plan(config.job())
    assert plan.sample is not None
    rows = [
        pq.read_table(file.path).append_column("row_hash", [range(file.rows)])
        for file in plan.shards.files
    ]
    found = {name for table in rows for name in plan.sample.of(table)["opinion_id"].to_pylist()}
    assert plan.records == len(PERSONAS) * len(found)
    return found


@pytest.fixture
def many(tmp_path: Path) -> str:
    for shard in range(4):
        write_opinions(tmp_path / "many" / f"{shard}.parquet", 100 * shard, 100)
    return str(tmp_path / "many")


def test_a_sample_is_always_the_same_and_part_of_a_larger_one(config: Config, many: str) -> None:
    def part(**settings: float) -> set[str]:
        return taken(config(input={"path": many, "fan_out": "personas", **settings}))

    small, large = part(sample=0.1), part(sample=0.3)
    assert small == part(sample=0.1)
    assert small < large
    assert 20 <= len(small) <= 60 < 90 <= len(large) <= 150
    assert len(part(limit=7)) == 7
    assert part(limit=7) < part(limit=20) < part(limit=399)
    assert part(sample=0.1, limit=7) == part(limit=7)
    assert len(part(limit=1000)) == 400


def test_a_sample_of_nothing_is_refused(config: Config, many: str) -> None:
    settings = config(input={"path": many, "fan_out": "personas", "sample": 1e-9})
    with pytest.raises(InputError, match="takes none of the opinions"):
        make_plan(settings.job())


def test_what_this_machine_lacks_is_told_and_not_refused(
    config: Config, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def lacking(_: JobConfig) -> None:
        raise ConfigError("1 GPUs are missing")

    monkeypatch.setattr(check, "check_cluster", lacking)
    said.clear()
    estimate(config())
    assert "Cluster         not this one: 1 GPUs are missing" in said
    assert any(line.startswith("Time  ") for line in said)
    with pytest.raises(ConfigError, match="1 GPUs are missing"):
        check.check(config().job())


def test_new_shards_leave_a_sample_as_it_is(config: Config, many: str) -> None:
    settings = config(input={"path": many, "fan_out": "personas", "sample": 0.2})
    before, run = taken(settings), make_plan(settings.job()).fingerprint
    write_opinions(Path(many) / "later.parquet", 400, 100)
    assert before < taken(settings)
    assert make_plan(settings.job()).fingerprint == run


def test_opinions_without_an_id_are_told_by_their_text(config: Config, many: str) -> None:
    for file in Path(many).glob("*.parquet"):
        pq.write_table(pq.read_table(file).drop_columns("opinion_id"), file)
    plan = make_plan(
        config(input={"path": many, "sample": 0.25, "columns": {"persona": None}}).job()
    )
    assert plan.sample is not None
    assert 60 <= plan.records == sum(map(sum, plan.sample.taken.values())) <= 140


@pytest.mark.ray
def test_a_limited_run_is_complete_with_what_it_takes(
    config: Config, source: Path, cluster: None
) -> None:
    limited = config(input={"path": str(source), "fan_out": "personas", "limit": 5})
    run = backfill(limited).parent
    found = outcomes(run)
    assert {record.replace("r", "o") for record, _ in found} == taken(limited)
    assert set(found.values()) == {1}
    assert len(found) == 5 * len(PERSONAS)
    assert run != backfill(config()).parent


def test_the_command_takes_them_as_options(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config().model_dump(mode="json")))
    with pytest.raises(SystemExit) as ended:
        main(["backfill", str(file), "--limit", "3", "--dry-run"])
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Input           48 records in 2 shards") for line in said)
    assert said[-1] == "Ready: `medsent backfill` with the same file scores 48 records"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("budget.money=5", r"budget\.money needs price\.per_replica_hour"),
        ("labelled.partition_by=[date, date]", "name each column once"),
        ("labelled.partition_by=[clinic]", "partition_by"),
        ("input.keep=[labels]", "'labels' is a column of the labelled rows already"),
        ("input.columns={persona: reader}", r"columns\.persona is not read with fan_out"),
        ("input.sample=0", "greater than 0"),
        ("reference=s3://id:secret@bucket/run", "reference: a path must not hold a key"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    config: Config, tmp_path: Path, setting: str, wrong: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config().model_dump(mode="json")))
    with pytest.raises(ConfigError, match=wrong):
        load_settings(BackfillConfig, file, [setting])


def test_a_budget_of_money_is_counted_by_the_hour(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config().model_dump(mode="json")))
    by_tokens = "price={per_million_tokens: {prompt: 1, output: 2}}"
    with pytest.raises(ConfigError, match=r"budget\.money is counted by the hour"):
        load_settings(BackfillConfig, file, ["budget.money=5", by_tokens])
    job = load_settings(BackfillConfig, file, ["budget.money=5", "price={per_machine_hour: 3}"])
    assert Spent(replica_s=7200).told(job) == "2.00 replica hours, 6.00 USD"
    assert Spent(replica_s=7200).told(load_settings(BackfillConfig, file, [by_tokens])) == (
        "2.00 replica hours"
    )
    assert job.job().price == job.price  # so that the run's report knows it


def test_the_job_that_ships_is_one(tmp_path: Path) -> None:
    config = load_settings(BackfillConfig, "jobs/backfill.yaml")
    assert config.input.joins
    assert config.budget.money
    assert config.drift == DriftSettings()  # as its comments say
