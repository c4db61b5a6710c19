"""Rows taken out of a run: those that are meant, all of them, and no others."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands import evaluate as evaluation
from medsent.commands.evaluate import evaluate
from medsent.commands.requeue import Selection, resume, take_out
from medsent.errors import InputError, RunError
from medsent.input.shard import Shard
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.log import Started
from medsent.scoring.plan import Plan, make_plan
from tests.conftest import JobBuilder
from tests.written import write_manifest


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of two blocks: rows 0 to 3 and 4 to 7, of shards a and b in turn."""
    run = RunFolder(tmp_path)
    run.predictions.mkdir()
    for block, first in (("x-000000", 0), ("x-000001", 4)):
        ids = list(range(first, first + 4))
        rows = {
            "row_hash": pa.array(ids, pa.uint64()),
            "path": ["/a" if i % 2 == 0 else "/b" for i in ids],
            "persona": pa.nulls(len(ids), pa.string()),
            "reason": ["engine_killer" if i == 6 else None for i in ids],
            "one": [None if i == 6 else {"status": "ok", "answer": "x"} for i in ids],
            "two": [
                None
                if i == 6
                else {"status": "engine_error" if i in (1, 4) else "ok", "answer": "y"}
                for i in ids
            ],
        }
        pq.write_table(pa.table(rows), run.predictions / f"{block}.parquet")
    write_manifest(run)
    return run


def rows_of(run: RunFolder) -> list[int]:
    files = run.predictions.glob("*.parquet")
    return sorted(i for file in files for i in pq.read_table(file)["row_hash"].to_pylist())


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(shard="/a"), [0, 2, 4, 6]),
        (Selection(status="engine_error"), [1, 4]),
        (Selection(status="engine_killer"), [6]),
        (Selection(status="truncated"), []),
        (Selection(shard="/c"), []),
    ],
    ids=["shard", "status", "reason", "no such status", "no such shard"],
)
def test_the_rows_meant_are_out_and_the_run_is_incomplete(
    run: RunFolder, selection: Selection, taken: list[int]
) -> None:
    assert take_out(run, selection) == len(taken)
    assert rows_of(run) == [i for i in range(8) if i not in taken]
    assert run.manifest() is None
    assert resume(run) == 0


def test_a_file_of_which_nothing_is_left_goes(run: RunFolder) -> None:
    for status in ("ok", "engine_killer"):
        take_out(run, Selection(status=status))
    assert list(run.predictions.iterdir()) == []


def test_a_request_that_was_cut_short_is_finished(run: RunFolder) -> None:
    """As after a kill before the block's file went: a part of it stands beside it."""
    before = (run.predictions / "x-000001.parquet").read_bytes()
    take_out(run, Selection(shard="/a"))
    (run.predictions / "x-000001.parquet").write_bytes(before)
    run.write("requeue.json", json.dumps({"shard": "/a", "status": None}))
    assert rows_of(run) == [1, 3, 4, 5, 5, 6, 7, 7]
    assert resume(run) == 2
    assert rows_of(run) == [1, 3, 5, 7]
    assert not (run.path / "requeue.json").exists()


def test_what_is_left_of_a_block_is_a_part_of_it(run: RunFolder) -> None:
    take_out(run, Selection(status="engine_error"))
    names = sorted(file.name for file in run.predictions.iterdir())
    assert names == ["x-000000.part.parquet", "x-000001.part.parquet"]
    take_out(run, Selection(status="engine_killer"))
    assert rows_of(run) == [0, 2, 3, 5, 7]


def test_a_file_that_a_kill_left_aside_stands_in_no_ones_way(run: RunFolder) -> None:
    torn = run.predictions / ".x-000002.parquet.12345"
    torn.write_bytes(b"PAR1 and no more")
    assert take_out(run, Selection(status="engine_error")) == 2
    assert not torn.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"shard": 1}', '{"status": "ok", "since": "2026"}'])
def test_a_damaged_request_is_named(run: RunFolder, text: str) -> None:
    run.write("requeue.json", text)
    with pytest.raises(RunError, match=r"requeue\.json is damaged; delete it"):
        resume(run)


def test_a_shards_data_are_forgotten_with_its_rows(run: RunFolder) -> None:
    """So that one written anew is taken as it is now."""
    Ledger(good={path: Shard(path, 9, "1", 4) for path in ("/a", "/b")}).write(run)
    take_out(run, Selection(shard="/a"))
    assert list(Ledger.read(run).good) == ["/b"]
    take_out(run, Selection(status="engine_error"))
    assert list(Ledger.read(run).good) == ["/b"]


class TestRequeueRefused:
    """What cannot go on takes nothing out; what is not of the run stays out."""

    @pytest.fixture
    def own(
        self, tmp_path: Path, demo_shard: Path, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[RunFolder, Path]:
        """A run of which all is done but the manifest, over shards of its own."""
        source = tmp_path / "in"
        source.mkdir()
        shutil.copy(demo_shard, source / "a.parquet")
        shutil.copy(demo_shard, source / "b.parquet")
        named = job(input={"path": str(source), "limit": 3})
        monkeypatch.setattr(evaluation, "score", self._score)
        self.plans: list[Plan] = []
        with pytest.raises(pytest.fail.Exception, match="something was started"):
            evaluate(named)
        [folder] = (tmp_path / "runs").iterdir()
        return RunFolder(folder), source

    def _score(self, plan: Plan, *_: object) -> None:
        self.plans.append(plan)
        pytest.fail("something was started")

    def test_a_shard_that_is_gone(self, own: tuple[RunFolder, Path]) -> None:
        run, source = own
        (source / "b.parquet").unlink()
        recipe = make_plan(run.config()).recipe
        run.log(Started(done=0, recipe=recipe, versions={}))
        manifest = write_manifest(run)
        with pytest.raises(InputError, match=r"b\.parquet is no longer in the input"):
            evaluation.requeue(run.path, Selection(status="engine_error"))
        assert run.manifest() == manifest

    def test_a_shard_that_came_since(self, own: tuple[RunFolder, Path]) -> None:
        run, source = own
        rows = pq.read_table(source / "a.parquet")
        others = pa.array([f"other {name}" for name in rows["opinion_id"].to_pylist()])
        where = rows.schema.get_field_index("opinion_id")
        pq.write_table(rows.set_column(where, "opinion_id", others), source / "c.parquet")
        with pytest.raises(pytest.fail.Exception, match="something was started"):
            evaluation.requeue(run.path, Selection(status="engine_error"))
        assert [Path(path).name for path in Ledger.read(run).good] == ["a.parquet", "b.parquet"]
        before, now = self.plans
        assert now.records == before.records  # though 3 opinions of all are not those 3
        assert now.sample == before.sample
        assert make_plan(run.config()).sample != before.sample
