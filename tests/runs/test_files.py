"""Files of a run: what is damaged is named with its remedy, what is newer is passed over."""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medsent.commands.backfill.budget import Spent
from medsent.commands.backfill.export import MadeBy, State, finish
from medsent.engine.events import DEATHS, EventKind
from medsent.errors import RunError
from medsent.input.shard import BadShard, Shard
from medsent.metrics.cuts import Cuts, KeptCuts
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.log import EngineLogged, Started
from medsent.runs.manifest import Counted
from tests.written import write_manifest

ODD = os.fsdecode(b"/in/zaj\xeate.parquet")
"""A path that is no UTF-8, as a file system may have."""
READERS: dict[str, Any] = {
    "manifest.json": RunFolder.manifest,
    "ledger.json": Ledger.read,
    "erased.json": Erased.read,
    "spent.json": Spent.read,
    "thresholds.json": KeptCuts.read,
    "labelled/_commit.json": finish,
}
REMEDIES = {
    "manifest.json": "delete it and run again",
    "ledger.json": "delete it and give the same command again",
    "erased.json": "put it back",
    "spent.json": "delete it to count from nothing",
    "thresholds.json": "run its job again",
    "labelled/_commit.json": "delete it and _state.json beside it",
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "labelled").mkdir()
    return RunFolder(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"', "\udcff"])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_with_its_remedy(run: RunFolder, name: str, text: str) -> None:
    run.write(name, text.encode(errors="surrogateescape"))
    with pytest.raises(RunError) as caught:
        READERS[name](run)
    assert f"{run.path / name} is damaged; " in str(caught.value)
    assert REMEDIES[name] in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "ledger.json", "erased.json"])
def test_a_file_without_what_it_is_for_is_damaged(run: RunFolder, name: str) -> None:
    """A list of erased opinions least of all may be taken for an empty one."""
    run.write(name, "{}")
    with pytest.raises(RunError, match="is damaged"):
        READERS[name](run)


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_the_list_of_an_output_folder_is_not_taken_for_an_empty_one(
    tmp_path: Path, text: str
) -> None:
    run, file = RunFolder(tmp_path / "run-0"), tmp_path / "erased" / "0.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(RunError, match=r"erased/0\.json is damaged; put it back"):
        Erased.read(run)


NO_SCHEMA = b64encode(b"\xff\xff\xff\xff0000 no Arrow schema at all").decode()


@pytest.mark.parametrize("kept", [NO_SCHEMA, "no base64", 5, []])
def test_a_schema_that_is_none_is_damage(run: RunFolder, kept: object) -> None:
    run.write("ledger.json", json.dumps({"good": [], "bad": [], "kept": kept}))
    with pytest.raises(RunError, match=r"ledger\.json is damaged"):
        Ledger.read(run)


def test_the_kept_columns_come_back_as_they_were(run: RunFolder) -> None:
    for kept in (None, (), (pa.field("ward", pa.string()), pa.field("days", pa.list_(pa.int8())))):
        Ledger(kept=kept).write(run)
        assert Ledger.read(run).kept == kept


def test_shards_of_the_first_runs_have_no_etag(run: RunFolder) -> None:
    write_manifest(run, 4, input=(Shard("/a", 9, "1", 4),))
    file = run.path / "manifest.json"
    values = json.loads(file.read_text())
    for shard in values["input"]:
        del shard["etag"]
        shard["modified"] = "2026-11-01T20:24:56"
    file.write_text(json.dumps(values))
    assert [shard.etag for shard in run.complete().input] == ["2026-11-01T20:24:56"]


def test_a_report_names_the_shards_that_the_manifest_lists_once(run: RunFolder) -> None:
    shard = Shard("/a", 9, "1", 4)
    now = write_manifest(run, 4, input=(shard,), provenance={"model": "m"})
    before = write_manifest(
        run, 4, input=(shard,), provenance={"model": "m", "input": [shard.told()]}
    )
    assert now.sources() == before.sources() == {"model": "m", "input": [shard.told()]}


def test_what_a_newer_version_adds_is_passed_over(run: RunFolder) -> None:
    shard, bad = Shard("/a", 9, "1", 4), BadShard("/b", 9, "1", None, "other", "is bad")
    manifest = write_manifest(run, 4, input=(shard,))
    Ledger({"/a": shard}, {"/b": bad}).write(run)
    Erased(opinions=frozenset("ab"), pending=True).write(run)
    Spent(wall_s=2.0, replica_s=3.0).write(run)
    kept = KeptCuts({"v": Cuts(file="cuts.json", values={"joy": 0.3})})
    kept.write(run)
    for file in run.path.glob("*.json"):
        values = json.loads(file.read_text())
        inner = values.get("records") or values.get("v") or values.get("bad", [{}])[0]
        inner["newer"] = 1
        file.write_text(json.dumps(values if file.stem == "thresholds" else {**values, "newer": 1}))
    found = run.manifest()
    assert found is not None
    assert found.records.scored == manifest.records.scored
    # An erasure writes the manifest again.
    assert '\n "newer": 1' in found.to_json()
    assert Ledger.read(run) == Ledger({"/a": shard}, {"/b": bad})
    assert Erased.read(run) == Erased(opinions=frozenset("ab"), pending=True)
    assert Spent.read(run) == Spent(wall_s=2.0, replica_s=3.0)
    assert KeptCuts.read(run) == kept


def test_reasons_of_a_newer_version_are_counted(run: RunFolder) -> None:
    records = Counted(input=5, by_reason={"lost_in_space": 2}, duplicate_record_ids=0)
    assert write_manifest(run, records=records).records.scored == 3
    assert run.complete().records == records


def test_rows_that_a_newer_version_made_otherwise_are_made_by_something_else() -> None:
    made_by = MadeBy(partition_by=[], thresholds={"v": {"joy": 0.3}})
    state = State(made_by=made_by, sources={"a.parquet": 3}, calls=1)
    values = json.loads(state.to_json())
    assert State.model_validate(values) == state
    newer = State.model_validate({**values, "made_by": {**values["made_by"], "rounded": True}})
    assert newer.sources == state.sources
    assert newer.made_by != made_by


def test_a_path_that_is_no_utf8_is_read_as_it_was_written(run: RunFolder) -> None:
    shard = Shard(ODD, 9, "1", 4)
    write_manifest(run, 4, input=(shard,))
    Ledger({ODD: shard}).write(run)
    assert run.complete().input == (shard,)
    assert Ledger.read(run).good == {ODD: shard}


def test_a_shards_row_groups_are_not_written(run: RunFolder) -> None:
    shard = Shard("/a", 9, "1", 4, (1, 3))
    write_manifest(run, 4, input=(shard,))
    Ledger({"/a": shard}).write(run)
    written = [{"path": "/a", "size_bytes": 9, "etag": "1", "rows": 4}]
    assert json.loads((run.path / "manifest.json").read_text())["input"] == written
    assert json.loads((run.path / "ledger.json").read_text())["good"] == written


def test_lines_of_the_log_that_are_not_known_are_passed_over(run: RunFolder) -> None:
    told = {"replica": "a", "seconds": 1.0, "cause": "killed"}
    lines = [
        {"event": "start", "done": 3, "versions": {}, "newer": 1},
        {"event": "begin", "done": 4, "versions": {}},
        {"event": "engine_death", "kind": "death", **told},
        {"event": "engine_melted", "kind": "melted", **told},
        {"event": "engine_start", "kind": "start", **told},
        ["no", "event"],
    ]
    at = {"at": "2026-11-29T20:24:56.754156+00:00"}
    written = [json.dumps({**at, **line} if isinstance(line, dict) else line) for line in lines]
    (run.path / "log.jsonl").write_text("\n".join([*written, '{"at": "2026-', ""]))
    assert [event.done for event in run.events(Started)] == [3]
    kinds = [event.kind for event in run.events(EngineLogged)]
    assert kinds == [EventKind.DEATH, EventKind.START]
    assert [kind in DEATHS for kind in kinds] == [True, False]


@pytest.mark.parametrize(
    ("told", "field"), [({"done": 3}, "versions"), ({"done": "three", "versions": {}}, "done")]
)
def test_a_start_of_another_shape_is_refused(
    run: RunFolder, told: dict[str, Any], field: str
) -> None:
    """Passed over, a run would go on under any versions, or count as never begun."""
    (run.path / "log.jsonl").write_text("\n" + json.dumps({"event": "start", **told}))
    with pytest.raises(RunError, match=rf"log\.jsonl, line 2: {field} is missing or cannot"):
        run.events(Started)
    assert run.events(EngineLogged) == []


def test_a_line_of_the_log_holds_what_is_known(run: RunFolder) -> None:
    run.log(Started(done=0, versions={"torch": "2"}, recipe="r"))
    run.log(
        EngineLogged(event="engine_hang", replica="a", kind=EventKind.HANG, seconds=1, cause="")
    )
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("at").startswith("20")
    assert lines == [
        {"event": "start", "done": 0, "versions": {"torch": "2"}, "recipe": "r"},
        {"event": "engine_hang", "replica": "a", "kind": "hang", "seconds": 1.0, "cause": ""},
    ]
