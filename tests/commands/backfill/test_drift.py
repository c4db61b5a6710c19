"""Drift from a reference run: an alarm where it is planted, none where it is not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.drift import Drift
from medsent.config.labels import LABELS
from medsent.errors import RunError
from tests.commands.backfill.conftest import Complete
from tests.conftest import logged

pytestmark = pytest.mark.ray


@pytest.fixture
def reference(complete: Complete, tmp_path: Path) -> Path:
    """The complete run once more, elsewhere."""
    return shutil.copytree(complete.run, tmp_path / "reference-0")


def watched(
    complete: Complete, reference: Path, known: int | None = None, **groups: Any
) -> tuple[list[str], list[Drift]]:
    """Run a complete backfill against a reference; return its alarms, and all that it wrote.

    As if no more than `known` files of predictions had been handed on before.
    """
    run = shutil.copytree(complete.run, reference.parent / "runs" / complete.run.name)
    state = json.loads((run / "labelled" / "_state.json").read_text())
    state["sources"] = dict(list(state["sources"].items())[:known])
    (run / "labelled" / "_state.json").write_text(json.dumps(state))
    groups |= {"output": {"path": str(run.parent)}, "reference": str(reference)}
    with logged() as said:
        report = backfill(BackfillConfig.model_validate({**complete.values, **groups}))
    assert report == run / "report.html"
    alarms = [line for line in said if line.startswith("ALARM")]
    written = run / "drift.json"
    if not written.exists():
        return alarms, []
    found = json.loads(written.read_text())
    assert found["reference"] == str(reference)
    assert ("drifts_of_new" in found) == (known is not None)
    return alarms, [Drift.model_validate(each) for each in found["drifts"]]


def never(reference: Path, label: str) -> None:
    """Let the reference give a label to no record."""
    file = reference / "thresholds.json"
    kept = json.loads(file.read_text())
    kept["plain"]["values"][label] = 1.1
    file.write_text(json.dumps(kept))


def test_a_planted_drift_is_told(complete: Complete, reference: Path) -> None:
    never(reference, "anger")
    [alarm], drifts = watched(complete, reference)
    assert alarm.startswith("ALARM, drift: plain: anger given to 0.0% → ")
    assert alarm.endswith(f"; the limit is +5.0 points either way, against {reference}")
    assert [drift.name for drift in drifts if drift.alarm] == ["anger"]
    assert {drift.name for drift in drifts} > {*LABELS, "language", "quarantined"}


def test_what_is_new_is_looked_at_by_itself(complete: Complete, reference: Path) -> None:
    """In a large run it would drown."""
    never(reference, "anger")
    alarms, _ = watched(complete, reference, known=1)
    assert [alarm.partition(": ")[0] for alarm in alarms] == [
        "ALARM, drift",
        "ALARM, drift in what is new",
    ]


def test_without_one_there_is_no_alarm(complete: Complete, reference: Path) -> None:
    alarms, drifts = watched(complete, reference)
    assert alarms == []
    assert {drift.value for drift in drifts} == {0.0}


def test_a_reference_of_other_labels_is_compared_by_those_of_both(
    complete: Complete, reference: Path
) -> None:
    renamed = {LABELS[0]: "joy"}
    for file in sorted((reference / "predictions").glob("*.parquet")):
        rows = pq.read_table(file)
        kinds = [_renamed(field.type, renamed) for field in rows.schema]
        columns = [
            _retyped(rows[name].combine_chunks(), kind)
            for name, kind in zip(rows.column_names, kinds, strict=True)
        ]
        pq.write_table(pa.table(columns, names=rows.column_names), file)
    kept = json.loads((reference / "thresholds.json").read_text())
    for entry in kept.values():
        entry["values"]["joy"] = entry["values"].pop(LABELS[0])
    (reference / "thresholds.json").write_text(json.dumps(kept))
    alarms, drifts = watched(complete, reference)
    assert alarms == []
    assert [drift.name for drift in drifts if drift.kind == "label_rate"] == [*LABELS[1:]]
    run = reference.parent / "runs" / complete.run.name
    told = json.loads((run / "drift.json").read_text())["labels_left_out"]
    assert told == {reference.name: ["joy"], run.name: [LABELS[0]]}


def _renamed(kind: pa.DataType, names: dict[str, str]) -> pa.DataType:
    if not pa.types.is_struct(kind):
        return kind
    fields = [(names.get(field.name, field.name), _renamed(field.type, names)) for field in kind]
    return pa.struct(fields)


def _retyped(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_struct(kind):
        return column
    parts = [_retyped(pc.struct_field(column, i), field.type) for i, field in enumerate(kind)]
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=column.is_null())


def test_null_looks_for_none(complete: Complete, reference: Path) -> None:
    never(reference, "anger")
    assert watched(complete, reference, drift=None) == ([], [])


def test_the_reference_is_looked_at_before_anything_is_scored(
    complete: Complete, reference: Path, tmp_path: Path
) -> None:
    (reference / "manifest.json").unlink()
    values = {**complete.values, "output": {"path": str(tmp_path / "runs")}}
    config = BackfillConfig.model_validate({**values, "reference": str(reference)})
    with pytest.raises(RunError, match="reference-0 is not complete"):
        backfill(config)
    assert not (tmp_path / "runs").exists()
