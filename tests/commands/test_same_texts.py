"""Copies of opinions under other ids, from `check` to `erase`: jobs over texts that stand twice."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from medsent.commands import check as checkup
from medsent.commands.check import tell
from medsent.commands.compare import compare_runs
from medsent.commands.erase import erase
from medsent.commands.evaluate import evaluate, rewrite_report
from medsent.commands.tune import tune_run
from medsent.demo.data import Split, shard_table
from medsent.errors import ConfigError
from medsent.metrics import same_texts as copies
from medsent.metrics.model import read_metrics
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.runs.clusters import Clusters
from medsent.runs.erased import opinion_hash
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder

OPINIONS = 15
NEAR = {"cluster": "near_duplicates"}


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Opinions read by two personas each, and below `twice` a copy of each with a word more."""
    folder = tmp_path / "in"
    folder.mkdir()
    split = Split(opinions=OPINIONS, readers=2, shards=1, seed=7)
    table = shard_table("test", split, 0)
    pq.write_table(table, folder / "once.parquet")
    pq.write_table(copied(table, " Naprawdę."), folder / "twice.parquet")
    return folder


def copied(table: pa.Table, more: str = "") -> pa.Table:
    """Return the rows under other ids."""
    for name, change in (("opinion_id", "copy of "), ("record_id", "copy of ")):
        changed = pc.binary_join_element_wise(change, table[name], "")
        table = table.set_column(table.column_names.index(name), name, changed)
    texts = pc.binary_join_element_wise(table["text"], more, "")
    return table.set_column(table.column_names.index("text"), "text", texts)


def opinions_with(folder: Path) -> dict[str, int | None]:
    """Return how many opinions a report counts for each label."""
    metrics = read_metrics(folder / "metrics.json")
    return {name: label.opinions for name, label in metrics.variants["plain"].labels.items()}


@pytest.mark.ray
def test_near_duplicates_count_as_one_where_that_is_asked(
    source: Path, tmp_path: Path, job: JobBuilder, cluster: None, said: list[str]
) -> None:
    plain = job(input={"path": str(source)})
    folder = evaluate(plain).parent
    before, each = (folder / "metrics.json").read_bytes(), opinions_with(folder)
    near = job(input={"path": str(source)}, statistics=NEAR)
    assert evaluate(near).parent == folder
    told = f"Near-duplicates: {2 * OPINIONS} of {2 * OPINIONS} opinions with gold are {OPINIONS} "
    assert any(line.startswith(told) for line in said)
    once = opinions_with(folder)
    assert {name: 2 * (number or 0) for name, number in once.items()} == each
    provenance = read_metrics(folder / "metrics.json").provenance
    assert provenance["clusters"]["clusters"] == OPINIONS  # type: ignore[index, call-overload]

    # The report needs no shards; `compare` takes them together too.
    for file in source.glob("*.parquet"):
        file.rename(file.with_suffix(".gone"))
    (folder / "metrics.json").unlink()
    rewrite_report(folder)
    assert opinions_with(folder) == once
    other = tmp_path / "other-0123456789ab"
    other.mkdir()
    for file in folder.rglob("*.*"):
        target = other / file.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    report = compare_runs(folder, other, (None, None), tmp_path / "compared")
    changes = read_metrics(report.parent / "metrics.json").comparisons[0].labels  # type: ignore[arg-type]
    assert {name: change.opinions for name, change in changes.items()} == once

    # Of an erased opinion nothing is left.
    [kept] = pq.read_table(folder / "predictions")["opinion_id"].slice(0, 1).to_pylist()
    assert opinion_hash(kept) in (folder / "clusters.json").read_text()
    erase([folder], {kept: "line 1"})
    assert opinion_hash(kept) not in (folder / "clusters.json").read_text()
    left = Clusters.read(RunFolder(folder))
    assert left is not None
    assert len(left.clusters) == OPINIONS - 1

    # Where it is asked no more, the figures are those of before; where nothing is erased, of all.
    for file in source.glob("*.gone"):
        file.rename(file.with_suffix(".parquet"))
    elsewhere = {"path": str(tmp_path / "elsewhere")}
    again = evaluate(job(input={"path": str(source)}, output=elsewhere)).parent
    assert not (again / "clusters.json").exists()
    was, now = json.loads(before), json.loads((again / "metrics.json").read_text())
    assert was["variants"]["plain"]["labels"] == now["variants"]["plain"]["labels"]
    evaluate(job(input={"path": str(source)}))
    assert not (folder / "clusters.json").exists()


@pytest.mark.ray
def test_thresholds_know_copies_of_what_they_were_tuned_on(
    source: Path, tmp_path: Path, job: JobBuilder, cluster: None, said: list[str]
) -> None:
    validation = job(input={"path": str(source / "once.parquet")}, name="validation")
    folder = evaluate(validation).parent
    file = Path(str(tune_run(folder)))
    assert not any("by id alone" in line for line in said)
    cuts = {"plain": {"method": "onepass", "thresholds": str(file)}}
    test = tmp_path / "test"
    test.mkdir()
    once = pq.read_table(source / "once.parquet")
    pq.write_table(copied(once), test / "copies.parquet")
    told = f"{OPINIONS} of its {OPINIONS} have gold labels here, {OPINIONS} of them under another"
    with pytest.raises(ConfigError, match=told):
        make_plan(job(input={"path": str(test)}, variants=cuts))

    # An erased opinion is not known any more, by its id or by its text.
    gone = once["opinion_id"][0].as_py()
    erase([folder], {gone: "line 1"})
    known = read_thresholds(file).tuned_on
    assert (len(known.hashes), len(known.recognised)) == (OPINIONS - 1, OPINIONS - 1)
    alone = copied(once.filter(pc.equal(once["opinion_id"], gone)))
    pq.write_table(alone, test / "copies.parquet")
    make_plan(job(input={"path": str(test)}, variants=cuts))

    # What stands in the shards no more is known by id alone, and that is said.
    (source / "once.parquet").write_bytes((source / "twice.parquet").read_bytes())
    said.clear()
    tune_run(folder)
    assert f"The texts of {OPINIONS - 1} opinions are gone" in said[0]
    (source / "once.parquet").unlink()
    said.clear()
    tune_run(folder)
    assert said[0].startswith("The opinions' texts cannot be read, so the thresholds file")
    assert read_thresholds(file).tuned_on.text_hashes is None


def test_check_counts_them(
    source: Path, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def lacking(_: object) -> None:
        raise ConfigError("there is none")

    monkeypatch.setattr(checkup, "check_cluster", lacking)

    def told(**groups: object) -> dict[str, str]:
        said.clear()
        tell(make_plan(job(input={"path": str(source)}, **groups)), here=False)
        return {line[:15].strip(): line[16:] for line in said}

    lines = told()
    assert lines["Same texts"].startswith("none of 40 characters or more stands under several")
    assert "Near-duplicates" not in lines
    assert told(statistics=NEAR)["Near-duplicates"] == (
        f"{2 * OPINIONS} of {2 * OPINIONS} opinions with gold, in {OPINIONS} clusters for "
        "intervals and tests"
    )
    once = pq.read_table(source / "once.parquet")
    pq.write_table(copied(once), source / "twice.parquet")
    assert told()["Same texts"] == (
        f"{OPINIONS} of 40 characters or more stand under several opinion ids, {2 * OPINIONS} in "
        "all; the gold of 0 of them differs between these"
    )
    monkeypatch.setattr(copies, "MOST_ROWS", 10)
    few = len(once["opinion_id"].slice(0, 5).unique())
    assert told()["Same texts"].startswith(
        f"of the first {2 * few} opinions with gold: {few} of 40 characters or more stand under"
    )
    unlabelled = once.drop_columns(["labels"])
    pq.write_table(unlabelled, source / "once.parquet")
    pq.write_table(unlabelled, source / "twice.parquet")
    assert "Same texts" not in told()
