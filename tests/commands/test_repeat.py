"""`evaluate --repeat`: the same records asked again, each time in a run of its own."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from medsent.commands import repeat as repeat_module
from medsent.commands.erase import erase
from medsent.commands.evaluate import rewrite_report
from medsent.commands.repeat import evaluate_repeatedly
from medsent.config.labels import LABELS
from medsent.errors import ConfigError, RunError
from medsent.metrics.model import read_metrics
from medsent.metrics.repeats import Repeats
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.log import Scored, Started
from medsent.runs.repeats import repeats_of
from medsent.scoring.identity import versions
from medsent.scoring.opening import open_run
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder, predictions_of


def repeats_in(run: RunFolder) -> Repeats:
    found = read_metrics(run.path / "metrics.json").repeats
    assert found is not None
    return found


def path_of(run: RunFolder) -> Path:
    assert isinstance(run.path, Path)
    return run.path


def turn_over(file: Path, label: str, rows: int) -> None:
    """Write a block anew in which the first rows have the other answer for a label."""
    table = pq.read_table(file)
    column = table["plain"].combine_chunks()
    fields = {each.name: pc.struct_field(column, each.name) for each in column.type}
    given = fields["probabilities"]
    old = pc.struct_field(given, label)
    turned = pa.array([1 - p if i < rows else p for i, p in enumerate(old.to_pylist())], old.type)
    values = [turned if each.name == label else given.field(each.name) for each in given.type]
    fields["probabilities"] = pa.StructArray.from_arrays(values, fields=list(given.type))
    changed = pa.StructArray.from_arrays(list(fields.values()), fields=list(column.type))
    place = table.column_names.index("plain")
    pq.write_table(table.set_column(place, table.schema.field(place), changed), file)


@pytest.mark.ray
def test_a_job_is_asked_again_and_told_what_flipped(
    job: JobBuilder, cluster: None, said: list[str]
) -> None:
    config = job()
    report = evaluate_repeatedly(config, 2)
    run = RunFolder(report.parent)
    [repeat] = repeats_of(run)
    assert repeat.path.name == run.path.name.replace("scripted", "scripted-repeat-2")
    found = repeats_in(run)
    # The scripted engine answers by the prompt alone.
    assert (found.runs, found.records, found.left_out) == ([repeat.path.name], 24, 0)
    assert found.variants["plain"].flipped == 0
    told = "asked 2 times, plain gave the same answer each time to all of 24 records"
    assert told in "".join(said)

    block = sorted(path_of(repeat).glob("predictions/*.parquet"))[1]
    turn_over(block, LABELS[2], rows=3)
    rewrite_report(run.path)
    plain = repeats_in(run).variants["plain"]
    assert (plain.answered, plain.flipped) == (24, 3)
    assert {name: each.flips for name, each in plain.labels.items() if each.flips} == {LABELS[2]: 3}

    # What is complete is not scored again; a time that is new is, in the blocks of the first,
    # however these would be cut by now.
    other = config.model_copy(
        update={"engine": config.engine.model_copy(update={"rows_per_block": 7})}
    )
    evaluate_repeatedly(other, 3)
    assert [len(each.events(Scored)) for each in (run, *repeats_of(run))] == [1, 1, 1]
    found = repeats_in(run)
    assert (found.times, found.records, found.left_out) == (3, 24, 0)
    assert found.variants["plain"].flipped == 3

    # An erasure reaches the repeats.
    opinion = predictions_of(path_of(run))["opinion_id"][0].as_py()
    erase([run.path], {opinion: "--opinion-id"})
    for each in (run, *repeats_of(run)):
        assert opinion not in predictions_of(path_of(each))["opinion_id"].to_pylist()
    assert (repeats_in(run).records, repeats_in(run).left_out) == (20, 0)

    # A repeat that lacks a block leaves its records out, one that is not complete is named, and
    # one that cannot be read takes nothing from the report but the repeats.
    block.unlink()
    rewrite_report(run.path)
    assert repeats_in(run).left_out > 0
    third = repeats_of(run)[1]
    third.manifest_file.unlink()
    rewrite_report(run.path)
    assert (repeats_in(run).times, repeats_in(run).unfinished) == (2, [third.path.name])
    sorted(path_of(repeat).glob("predictions/*.parquet"))[0].write_bytes(b"torn")
    rewrite_report(run.path)
    assert read_metrics(run.path / "metrics.json").repeats is None
    assert any("the report tells nothing of repeats" in line for line in said)


def test_what_is_not_the_same_job_is_no_repeat(
    job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job()
    first = open_run(make_plan(config))
    monkeypatch.setattr(repeat_module, "evaluate", lambda _: first.path / "report.html")
    with pytest.raises(RunError, match="is of an earlier version"):
        evaluate_repeatedly(config, 2)
    Ledger(rows_per_block=4).write(first)
    first.log(Started(done=0, versions={**versions(), "torch": "1.0"}))
    with pytest.raises(RunError, match=r"was begun with other versions: torch 1\.0"):
        evaluate_repeatedly(config, 2)
    other = RunFolder(path_of(first).rename(path_of(first).with_name("scripted-000000000000")))
    monkeypatch.setattr(repeat_module, "evaluate", lambda _: other.path / "report.html")
    with pytest.raises(ConfigError, match=r"--repeat: the job is not that of .*scripted-0000"):
        evaluate_repeatedly(config, 2)
    # Nothing was scored, nor is there a repeat that a report would count.
    assert not any(repeat.holds_predictions() for repeat in repeats_of(first))
