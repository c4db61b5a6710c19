"""Rows taken out of a run, so that the same command scores just those again."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict

from medsent.commands.backfill import export
from medsent.runs.blocks import keep_rows, tidy
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.storage.paths import AnyPath, names_below, open_parquet, shown

_READERS = 8


class Selection(Written):
    """Which rows of a run are to be scored again; what is not known here is not passed over."""

    model_config = ConfigDict(extra="forbid")

    shard: str | None = None
    """All rows of one shard, by its canonical path."""
    status: str | None = None
    """Rows of which a variant has this status, or whose quarantine has this reason."""

    def matches(self, rows: pa.Table) -> pa.Array:
        """Return which of N rows of the predictions are meant, as N booleans."""
        if self.shard is not None:
            return pc.equal(rows["path"], shown(self.shard))
        found = pc.fill_null(pc.equal(rows["reason"], self.status), False)
        for column in rows.itercolumns():
            if _has_status(column.type):
                same = pc.equal(pc.struct_field(column, "status"), self.status)
                found = pc.or_(found, pc.fill_null(same, False))
        return found


def _has_status(kind: pa.DataType) -> bool:
    """Tell whether a column is a variant's; a label may be called `status` too."""
    return pa.types.is_struct(kind) and any(
        field.name == "status" and pa.types.is_string(field.type) for field in kind
    )


def take_out(run: RunFolder, selection: Selection) -> int:
    """Delete the rows of a selection from a run's predictions; return how many there were.

    The run is incomplete from here on. The selection is kept in the run until all of its
    rows are out, so that a kill on the way forgets nothing: see `resume`.
    """
    run.write(_journal(run).name, selection.to_json())
    run.manifest_file.unlink(missing_ok=True)
    return _carry_out(run, selection)


def resume(run: RunFolder) -> int:
    """Finish a selection that was cut short; return the rows it took out."""
    selection = read_file(_journal(run), Selection, "delete it and requeue again")
    return 0 if selection is None else _carry_out(run, selection)


def _carry_out(run: RunFolder, selection: Selection) -> int:
    if selection.shard is not None:
        Ledger.read(run).forget(selection.shard).write(run)
    export.forget(run)
    tidy(run)
    names = names_below(run.predictions, "*.parquet")
    with ThreadPoolExecutor(_READERS) as threads:
        taken = sum(threads.map(lambda name: _take_from(run, name, selection), names))
    _journal(run).unlink()
    return taken


def _take_from(run: RunFolder, name: str, selection: Selection) -> int:
    """Take the rows meant out of a file of predictions; return how many there were."""
    with open_parquet(run.predictions / name) as parquet:
        columns = [
            column.path
            for column in map(parquet.schema.column, range(len(parquet.schema)))
            if column.path in ("row_hash", "path", "reason") or column.path.endswith(".status")
        ]
        meant = _meant(parquet.read(columns), selection)
    taken = int(pc.sum(meant).as_py() or 0)
    if taken:
        keep_rows(run, name, pc.invert(meant))
    return taken


def _meant(rows: pa.Table, selection: Selection) -> pa.Array:
    """Return which of N rows of a block go: all records of a row, wherever one is meant."""
    found = rows["row_hash"].filter(selection.matches(rows))
    return pc.is_in(rows["row_hash"], value_set=found.combine_chunks())


def _journal(run: RunFolder) -> AnyPath:
    return run.path / "requeue.json"
