"""`evaluate --repeat`: the same records asked again, each time in a run of its own."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from medsent.commands.erase import erase
from medsent.commands.evaluate import rewrite_report
from medsent.commands.repeat import evaluate_repeatedly
from medsent.labels import LABELS
from medsent.metrics.model import read_metrics
from medsent.metrics.repeats import Repeats
from medsent.runs.folder import RunFolder
from medsent.runs.log import Scored
from medsent.runs.repeats import repeats_of
from tests.conftest import JobBuilder, predictions_of


def repeats_in(run: RunFolder) -> Repeats:
    found = read_metrics(run.path / "metrics.json").repeats
    assert found is not None
    return found


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
    assert "asked 2 times, plain gave the same answer to each of 24 records each time" in "".join(
        said
    )

    block = sorted(Path(repeat.predictions).glob("*.parquet"))[1]
    turn_over(block, LABELS[2], rows=3)
    rewrite_report(run.path)
    plain = repeats_in(run).variants["plain"]
    assert (plain.answered, plain.flipped) == (24, 3)
    assert {name: each.flips for name, each in plain.labels.items() if each.flips} == {LABELS[2]: 3}

    # What is complete is not scored again; the time that is new is.
    evaluate_repeatedly(config, 3)
    sessions = [len(each.events(Scored)) for each in (run, *repeats_of(run))]
    assert sessions == [1, 1, 1]
    assert repeats_in(run).times == 3
    assert repeats_in(run).variants["plain"].flipped == 3

    # An erasure reaches the repeats, and a run whose repeat lacks a block tells of it.
    opinion = predictions_of(Path(run.path))["opinion_id"][0].as_py()
    erase([run.path], {opinion: "--opinion-id"})
    for each in (run, *repeats_of(run)):
        assert opinion not in predictions_of(Path(each.path))["opinion_id"].to_pylist()
    left = repeats_in(run)
    assert (left.records, left.left_out) == (20, 0)
    block.unlink()
    rewrite_report(run.path)
    assert repeats_in(run).left_out > 0
