"""What is handed on: usable answers alone, in partitions, whole or not at all, once each."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from medsent.commands.backfill import export
from medsent.commands.backfill.export import hand_on
from medsent.commands.backfill.rows import schema
from medsent.commands.backfill.settings import BackfillConfig, LabelledSettings
from medsent.commands.requeue import Selection, take_out
from medsent.config.labels import LABELS
from medsent.errors import ConfigError
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import Plan, make_plan
from medsent.storage.paths import AnyPath
from tests.commands.backfill.conftest import Complete
from tests.commands.backfill.opinions import PERSONAS

pytestmark = pytest.mark.ray

BY_BOTH = LabelledSettings(partition_by=["language", "month"], rows_per_file=400)
ROWS = 23 * len(PERSONAS)


def read(run: RunFolder) -> pa.Table:
    """Read the labelled rows as others do: by their folders' names."""
    dataset = ds.dataset(run.labelled, partitioning="hive", exclude_invalid_files=False)
    return dataset.to_table()


def keys(run: RunFolder) -> list[tuple[str, str]]:
    table = read(run)
    return sorted(zip(*(table[n].to_pylist() for n in ("record_id", "persona")), strict=True))


def files(run: RunFolder) -> dict[str, int]:
    return {
        str(file.relative_to(run.labelled)): file.stat().st_mtime_ns
        for file in run.labelled.rglob("*.parquet")
    }


@pytest.fixture(scope="module")
def plan(complete: Complete) -> Plan:
    return make_plan(BackfillConfig.model_validate(complete.values).job())


@pytest.fixture
def run(complete: Complete, tmp_path: Path) -> RunFolder:
    """The complete run's predictions, of which nothing is handed on yet."""
    shutil.copytree(complete.run / "predictions", tmp_path / complete.run.name / "predictions")
    return RunFolder(tmp_path / complete.run.name)


def test_the_rows_are_the_usable_answers(complete: Complete) -> None:
    run = RunFolder(complete.run)
    table = read(run)
    assert table.num_rows == len(set(keys(run))) == ROWS
    assert "r0" not in table["record_id"].to_pylist()  # its text is empty
    assert set(table["variant"].to_pylist()) == {"plain"}
    assert set(table["run"].to_pylist()) == {complete.run.name}
    [model] = set(table["model"].to_pylist())
    assert model.partition("@")[0] == complete.values["model"]["source"]
    predicted = {
        (row["record_id"], row["persona"]): row["plain"]
        for file in run.predictions.glob("*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
    }
    for row in table.to_pylist():
        said = predicted[row["record_id"], row["persona"]]
        assert row["labels"] == said["labels"]
        assert row["probabilities"] == said["probabilities"]
        assert row["labelled_at"] == said["finished_at"]


def test_the_files_have_the_stated_schema(complete: Complete) -> None:
    wanted = schema(["language", "month"], LABELS)
    for file in (complete.run / "labelled").rglob("*.parquet"):
        found = pq.ParquetFile(file).schema_arrow
        assert found.names == [n for n in wanted.names if n not in ("language", "month")]
        assert all(found.field(name).type == wanted.field(name).type for name in found.names)


def test_folders_tell_language_and_month(complete: Complete) -> None:
    names = {
        str(file.parent.relative_to(complete.run / "labelled"))
        for file in (complete.run / "labelled").rglob("*.parquet")
    }
    assert names == {"language=en/month=2026-01", "language=pl/month=2026-01"}
    table = read(RunFolder(complete.run))
    numbers = [int(name[1:]) for name in table["record_id"].to_pylist()]
    assert ["pl" if n % 2 else "en" for n in numbers] == table["language"].to_pylist()


def test_small_files_are_put_together(run: RunFolder, plan: Plan) -> None:
    small = LabelledSettings(rows_per_file=100)
    done = hand_on(plan, run, small)
    assert (done.rows, done.added, done.rewritten) == (ROWS, ROWS, 1)
    sizes = sorted(pq.read_metadata(f).num_rows for f in run.labelled.rglob("*.parquet"))
    assert sizes == [ROWS % 100, *[100] * (ROWS // 100)]


def test_only_what_is_new_is_written(run: RunFolder, plan: Plan) -> None:
    """And the small file that it is put together with."""
    later = max(run.predictions.glob("*.parquet"))
    aside = later.rename(run.path / later.name)
    settings = LabelledSettings(rows_per_file=100)
    before = hand_on(plan, run, settings)
    stood = files(run)
    aside.rename(later)
    done = hand_on(plan, run, settings)
    assert (done.rows, done.added) == (ROWS, ROWS - before.rows)
    after = files(run)
    kept = [name for name in stood if after.get(name) == stood[name]]
    assert len(kept) >= len(stood) - 1 > 0
    assert len(set(keys(run))) == ROWS
    assert hand_on(plan, run, settings).added == 0
    assert files(run) == after


class KilledError(Exception):
    """Stands for a kill at one point."""


@pytest.mark.parametrize("at", ["staged", "committed", "moved in part"])
def test_a_kill_leaves_nothing_by_halves(
    run: RunFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    hand_on(plan, run, BY_BOTH)
    before, everything = files(run), keys(run)
    by_month = LabelledSettings(partition_by=["month", "language"])
    with monkeypatch.context() as patch:
        _die(patch, at)
        with pytest.raises(KilledError):
            hand_on(plan, run, by_month)
    if at != "moved in part":
        assert {n: t for n, t in files(run).items() if not n.startswith("_")} == before
    hand_on(plan, run, by_month)
    assert keys(run) == everything
    assert {Path(name).parts[0] for name in files(run)} == {"month=2026-01"}
    assert not [p for p in run.labelled.iterdir() if p.name in ("_commit.json", "_staged")]


def _die(patch: pytest.MonkeyPatch, at: str) -> None:
    """Die before the commit is written, right after it, or once it is carried out in part."""
    finish, move, moved = export._Folder.finish, export.move, []

    def killed(*_: object) -> None:
        raise KilledError

    def finish_without_commit(folder: export._Folder) -> None:
        killed() if (folder.path / "_commit.json").exists() else finish(folder)

    def move_once(source: AnyPath, target: AnyPath) -> None:
        killed() if moved else moved.append(target)
        move(source, target)

    if at == "staged":
        patch.setattr(export._Folder, "commit", killed)
    elif at == "committed":
        patch.setattr(export._Folder, "finish", finish_without_commit)
    else:
        patch.setattr(export, "move", move_once)


def test_rows_that_were_scored_again_are_made_anew(run: RunFolder, plan: Plan) -> None:
    """Under the names that they had: what tells is that a requeue took them out."""
    hand_on(plan, run, BY_BOTH)
    before = {file.name: file.read_bytes() for file in run.predictions.glob("*.parquet")}
    row = read(run)["record_id"][0].as_py()
    assert take_out(run, Selection(shard=pq.read_table(run.predictions)["path"][0].as_py()))
    for name, data in before.items():
        (run.predictions / name).write_bytes(data)
    assert hand_on(plan, run, BY_BOTH).added == ROWS
    assert len(set(keys(run))) == read(run).num_rows == ROWS
    assert row in read(run)["record_id"].to_pylist()


def test_new_thresholds_make_other_labels(run: RunFolder, plan: Plan) -> None:
    hand_on(plan, run, BY_BOTH)
    [variant] = plan.variants
    never = replace(variant, thresholds=dict.fromkeys(LABELS, 1.1))
    done = hand_on(replace(plan, variants=(never,)), run, BY_BOTH)
    assert done.added == ROWS
    labels = read(run)["labels"].combine_chunks()
    assert not any(pc.any(labels.field(label)).as_py() for label in LABELS)


def test_too_many_partitions_are_refused(
    run: RunFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_MOST_PARTITIONS", 3)
    with pytest.raises(ConfigError, match="over 3 folders; partition by less"):
        hand_on(plan, run, LabelledSettings(partition_by=["persona"]))
    assert not list(run.labelled.glob("persona=*"))


def test_the_state_says_what_the_rows_were_made_of(complete: Complete) -> None:
    state = json.loads((complete.run / "labelled" / "_state.json").read_text())
    assert state["made_by"]["partition_by"] == ["language", "month"]
    assert sum(state["sources"].values()) == 25 * len(PERSONAS)


def test_a_marker_stands_while_files_are_replaced(
    run: RunFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that sees it, or another state afterwards, reads again: see docs/backfill.md."""
    hand_on(plan, run, BY_BOTH)
    before, standing = json.loads((run.labelled / "_state.json").read_text()), files(run)
    move, marked = export.move, []

    def moved(source: AnyPath, target: AnyPath) -> None:
        marked.append((run.labelled / "_commit.json").exists())
        move(source, target)

    monkeypatch.setattr(export, "move", moved)
    [variant] = plan.variants
    other = replace(variant, thresholds=dict.fromkeys(LABELS, 0.1))
    hand_on(replace(plan, variants=(other,)), run, BY_BOTH)
    assert marked
    assert all(marked)
    assert not standing.keys() & files(run).keys()
    assert not (run.labelled / "_commit.json").exists()
    after = json.loads((run.labelled / "_state.json").read_text())
    assert after["calls"] == before["calls"] + 1
