"""A look at a job finds what would end it for the run that is there already."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsent.errors import InputError, MedsentError, RunError, UsageError
from medsent.runs.blocks import block_name
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.log import Started
from medsent.scoring.accounting import lost
from medsent.scoring.identity import versions
from medsent.scoring.opening import open_run
from medsent.scoring.plan import Plan, make_plan
from medsent.scoring.resumption import refuse_run
from medsent.storage.paths import names_below
from tests.conftest import JobBuilder
from tests.written import write_manifest


@pytest.fixture
def plan(job: JobBuilder, demo_shard: Path, tmp_path: Path) -> Plan:
    """A job of 24 records, four to a block, whose input may grow."""
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(demo_shard, source / "a.parquet")
    engine = {"kind": "scripted", "rows_per_block": 4}
    return make_plan(job(input={"path": str(source), "grows": True}, engine=engine))


@pytest.fixture
def run(plan: Plan) -> RunFolder:
    """Its run, begun: the ledger is written, and nothing is scored."""
    begun = open_run(plan)
    replace(Ledger().admit(plan.shards), rows_per_block=4).write(begun)
    begun.predictions.mkdir()
    begun.log(Started(done=0, versions=versions()))
    return begun


def score(plan: Plan, run: RunFolder) -> list[Path]:
    """Put files where the blocks' are, which no Parquet file is; return them."""
    [shard] = plan.shards.files
    names = [block_name(shard.path, number) for number in range(6)]
    files = [Path(str(run.predictions / f"{name}.parquet")) for name in names]
    for file in files:
        file.touch()
    return files


def test_where_no_run_is_nothing_is_refused(plan: Plan) -> None:
    refuse_run(plan)


def test_a_run_that_was_begun_is_gone_on_with(plan: Plan, run: RunFolder) -> None:
    before = names_below(run.path, "*")
    refuse_run(plan)
    assert names_below(run.path, "*") == before


def other_versions(plan: Plan, run: RunFolder) -> None:
    run.log(Started(done=0, versions={**versions(), "torch": "0.1"}))


def dropped(plan: Plan, run: RunFolder) -> None:
    write_manifest(run, 24)
    shutil.rmtree(str(run.predictions))


def damaged(name: str) -> Callable[[Plan, RunFolder], None]:
    def damage(plan: Plan, run: RunFolder) -> None:
        run.write(name, "{")

    return damage


def rewritten(plan: Plan, run: RunFolder) -> None:
    [shard] = plan.shards.files
    pq.write_table(pq.read_table(shard.path).slice(1), shard.path)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (other_versions, RunError, "begun with other versions: torch 0.1 -> "),
        (dropped, UsageError, "its predictions are no longer kept"),
        (damaged("ledger.json"), RunError, "ledger.json"),
        (damaged("erased.json"), RunError, "erased.json"),
        (damaged("manifest.json"), RunError, "manifest.json"),
        (rewritten, InputError, "a.parquet was rewritten since its rows were scored"),
    ],
)
def test_what_would_end_the_job_is_raised(
    plan: Plan,
    run: RunFolder,
    change: Callable[[Plan, RunFolder], None],
    error: type[MedsentError],
    told: str,
) -> None:
    change(plan, run)
    with pytest.raises(error, match=told):
        refuse_run(make_plan(plan.config))


def test_another_version_cuts_otherwise(plan: Plan, run: RunFolder) -> None:
    score(plan, run)
    Ledger().admit(plan.shards).write(run)
    with pytest.raises(RunError, match="begun by another version of medsent"):
        refuse_run(plan)


def test_what_is_complete_is_scored_by_no_other_version(plan: Plan, run: RunFolder) -> None:
    other_versions(plan, run)
    files = score(plan, run)
    refuse_run(plan)
    write_manifest(run, 24, input=plan.shards.files)
    assert lost(plan, run) == 0
    refuse_run(plan)
    files[0].unlink()
    assert lost(plan, run) == 4
    with pytest.raises(RunError, match="begun with other versions"):
        refuse_run(plan)
