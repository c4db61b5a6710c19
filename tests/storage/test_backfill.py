"""A backlog labelled, handed on and erased from, all of it on a real server."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from medsent.commands.backfill import export
from medsent.commands.backfill.export import hand_on
from medsent.commands.backfill.settings import BackfillConfig, LabelledSettings, Partition
from medsent.config.loader import load_settings
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import make_plan
from medsent.storage.paths import AnyPath, any_path, located, names_below
from tests.chaos.tokenizer import write_tokenizer
from tests.commands.backfill.opinions import PERSONAS, backfill_values, write_opinions
from tests.conftest import command
from tests.storage.server import Server

pytestmark = pytest.mark.ray

BUCKET = "backlog"
GONE = "o3"

Keys = Counter[tuple[str, str]]
"""(opinion_id, persona) to how many rows there are of it."""


@pytest.fixture(scope="module")
def job(server: Server, reached: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a backfill of two shards of ten opinions, two of them empty."""
    folder = tmp_path_factory.mktemp("job")
    server.make_bucket(BUCKET)
    write_opinions(folder / "in" / "a.parquet", 0, 10, empty=6)
    write_opinions(folder / "in" / "b.parquet", 10, 10)
    values = backfill_values(
        server.upload(folder / "in", BUCKET, "in"),
        f"s3://{BUCKET}/runs",
        write_tokenizer(folder / "model"),
        labelled={"partition_by": ["language", "month"], "rows_per_file": 400},
    )
    config = folder / "job.yaml"
    config.write_text(yaml.safe_dump(values))
    return config


def labelled(run: RunFolder) -> pa.Table:
    """Read the labelled rows as others do: by their folders' names."""
    filesystem, folder = located(run.labelled)
    return ds.dataset(folder, filesystem=filesystem, partitioning="hive").to_table()


def keys(table: pa.Table) -> Keys:
    return Counter(zip(*(table[n].to_pylist() for n in ("opinion_id", "persona")), strict=True))


def outcomes(run: RunFolder) -> Keys:
    filesystem, folder = located(run.predictions)
    return keys(pq.read_table(folder, filesystem=filesystem))


def each(opinions: range, *but: int) -> Keys:
    """Return one of each opinion, without some, for each persona."""
    return Counter((f"o{n}", who) for n in opinions if n not in but for who in PERSONAS)


@pytest.fixture(scope="module")
def run(
    job: Path, server: Server, cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """The run of two calls, with a third shard that came between them."""
    first = command("backfill", str(job))
    assert first.returncode == 0, first.stderr
    [folder] = any_path(f"s3://{BUCKET}/runs").glob("chaos-*")
    run = RunFolder(folder)
    assert outcomes(run) == each(range(20))
    assert keys(labelled(run)) == each(range(20), 0, 6)
    later = tmp_path_factory.mktemp("later")
    write_opinions(later / "c.parquet", 20, 5)
    server.upload(later, BUCKET, "in")
    again = command("backfill", str(job))
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == f"{run.path}/report.html"
    return run


def test_every_record_has_one_outcome_and_every_usable_answer_a_row(run: RunFolder) -> None:
    assert outcomes(run) == each(range(25))
    table = labelled(run)
    assert keys(table) == each(range(25), 0, 6)
    numbers = [int(name[1:]) for name in table["record_id"].to_pylist()]
    assert ["pl" if n % 2 else "en" for n in numbers] == table["language"].to_pylist()
    assert {name.partition("/")[0] for name in names(run)} == {"language=en", "language=pl"}


def names(run: RunFolder) -> list[str]:
    return names_below(run.labelled, "*.parquet")


@pytest.mark.parametrize(("moves", "by"), [(0, ["month"]), (1, ["month", "persona"])])
def test_a_kill_leaves_nothing_by_halves(
    run: RunFolder, job: Path, monkeypatch: pytest.MonkeyPatch, moves: int, by: list[Partition]
) -> None:
    """After the commit, with so many files moved in."""
    config = load_settings(BackfillConfig, job)
    plan = make_plan(config.job())
    settings, before = LabelledSettings(partition_by=by), keys(labelled(run))
    move, moved = export.move, []

    def killed(source: AnyPath, target: AnyPath) -> None:
        if len(moved) == moves:
            raise KeyboardInterrupt
        moved.append(source)
        move(source, target)

    monkeypatch.setattr(export, "move", killed)
    with pytest.raises(KeyboardInterrupt):
        hand_on(plan, run, settings)
    assert (run.labelled / "_commit.json").is_file()
    monkeypatch.undo()
    hand_on(plan, run, settings)
    assert keys(labelled(run)) == before
    assert {name.partition("/")[0] for name in names(run)} == {"month=2026-01"}
    assert not [path for path in run.labelled.glob("*") if path.name in ("_commit.json", "_staged")]


def test_an_erased_opinion_is_gone(run: RunFolder) -> None:
    kept = labelled(run).num_rows - len(PERSONAS)
    done = command("erase", str(run.path), "--opinion-id", GONE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Erased 16 records of 1 opinions in 1 runs"
    assert "16 labelled rows removed" in done.stdout
    assert GONE not in labelled(run)["opinion_id"].to_pylist()
    assert labelled(run).num_rows == kept
    assert sum(outcomes(run).values()) == 25 * len(PERSONAS)
    assert GONE not in {name for name, _ in outcomes(run)}
    assert run.complete().records.by_reason == {"empty_text": 32, "erased": 16}
