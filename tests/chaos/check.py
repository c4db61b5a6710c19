"""Is a run's outcome that of a run which nobody disturbed? Every row is looked at."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

_OF_THE_MOMENT = ("latency_s", "finished_at", "replica", "attempt")
"""What two runs of the same rows may differ in."""

_NOT_OF_THE_ROWS = ("throughput", "timing")
"""The parts of metrics.json that tell of time."""


@dataclass
class Verdict:
    """What is wrong with a run; nothing where it is as it should be."""

    lost: int = 0
    """Rows of the input without an outcome."""
    doubled: int = 0
    """Outcomes beyond the first of a row."""
    faults: list[str] = field(default_factory=list)
    """Anything else, each a sentence."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.faults)


class Reference:
    """A run that nobody disturbed, and the input of it."""

    def __init__(self, source: Path, run: Path) -> None:
        self._names = Counter(_column(source, "record_id"))
        self._outcomes = _outcomes(run)
        self._manifest = _json(run / "manifest.json")
        self._metrics = _timeless(_json(run / "metrics.json"))
        own = self.check(run)
        if own:
            raise AssertionError(f"{run}: the undisturbed run is wrong itself: {own}")

    def check(self, run: Path) -> Verdict:
        """Compare a run's rows, manifest and metrics to the input and to the undisturbed run."""
        verdict = Verdict()
        outcomes = _outcomes(run)
        self._count(outcomes, verdict)
        if not verdict and not outcomes.equals(self._outcomes):
            verdict.faults.append(_differences(outcomes, self._outcomes))
        self._check_manifest(_json(run / "manifest.json"), verdict)
        if _timeless(_json(run / "metrics.json")) != self._metrics:
            verdict.faults.append("metrics.json differs")
        return verdict

    def _count(self, outcomes: pa.Table, verdict: Verdict) -> None:
        """Count rows lost and doubled, by the input's record_id and by the row's hash."""
        for expected, found in (
            (self._names, Counter(outcomes["record_id"].to_pylist())),
            (Counter(self._outcomes["row_hash"].to_pylist()), _hashes(outcomes)),
        ):
            verdict.lost = max(verdict.lost, (expected - found).total())
            verdict.doubled = max(verdict.doubled, (found - expected).total())

    def _check_manifest(self, manifest: dict[str, Any], verdict: Verdict) -> None:
        ours, theirs = manifest["records"], self._manifest["records"]
        for name in theirs:
            if name != "retries" and ours[name] != theirs[name]:
                verdict.faults.append(f"the manifest counts {name} as {ours[name]}")
        if ours["input"] != self._names.total():
            verdict.faults.append(f"the manifest counts {ours['input']} rows in")
        if ours["input"] != ours["scored"] + ours["quarantined"]:
            verdict.faults.append("the manifest's scored and quarantined are not its input")
        for name in ("fingerprint", "input", "shards_quarantined"):
            if manifest[name] != self._manifest[name]:
                verdict.faults.append(f"the manifest's {name} differs")


def _column(folder: Path, name: str) -> list[Any]:
    values: list[Any] = pq.read_table(folder, columns=[name])[name].to_pylist()
    return values


def _hashes(outcomes: pa.Table) -> Counter[int]:
    return Counter(outcomes["row_hash"].to_pylist())


def _outcomes(run: Path) -> pa.Table:
    """Return a run's predictions in the order of their rows, without what is of the moment."""
    files = sorted((run / "predictions").glob("*.parquet"))
    table = ds.dataset([str(file) for file in files], format="parquet").to_table()
    for index, column in enumerate(table.schema):
        if pa.types.is_struct(column.type) and column.type.get_field_index("attempt") >= 0:
            table = table.set_column(index, column.name, _of_the_row(table[column.name]))
    return table.sort_by("row_hash").combine_chunks()


def _of_the_row(predictions: pa.ChunkedArray) -> pa.StructArray:
    column = predictions.combine_chunks()
    names = [field.name for field in column.type if field.name not in _OF_THE_MOMENT]
    parts = [pc.struct_field(column, name) for name in names]
    return pa.StructArray.from_arrays(parts, names=names, mask=column.is_null())


def _differences(outcomes: pa.Table, expected: pa.Table) -> str:
    """Name the columns in which two tables differ, never their values."""
    names = [
        name
        for name in expected.schema.names
        if name not in outcomes.schema.names or not outcomes[name].equals(expected[name])
    ]
    return f"the predictions differ in {', '.join(names) or 'their schema'}"


def _json(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _NOT_OF_THE_ROWS}
    if isinstance(value, list):
        return [_timeless(entry) for entry in value]
    return value
