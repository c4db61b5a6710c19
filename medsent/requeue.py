"""Rows taken out of a run, so that the same command scores just those again."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.checkpoint import reconcile
from medsent.errors import RunError
from medsent.ledger import Ledger
from medsent.predictions import record_keys, rewrite
from medsent.run import RunFolder
from medsent.storage import AnyPath, open_parquet

_READERS = 8


@dataclass(frozen=True)
class Selection:
    """Which rows of a run are to be scored again."""

    shard: str | None = None
    """All rows of one shard, by its canonical path."""
    status: str | None = None
    """Rows of which a variant has this status, or whose quarantine has this reason."""

    def matches(self, rows: pa.Table) -> pa.Array:
        """Return which of N rows of the predictions are meant, as N booleans."""
        if self.shard is not None:
            return pc.equal(rows["path"], self.shard)
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
    run.write(_journal(run).name, json.dumps(asdict(selection)))
    run.manifest_file.unlink(missing_ok=True)
    return _carry_out(run, selection)


def resume(run: RunFolder) -> int:
    """Finish a selection that was cut short; return the rows it took out."""
    journal = _journal(run)
    try:
        selection = Selection(**json.loads(journal.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return 0
    except (TypeError, ValueError) as error:
        raise RunError(f"{journal} is damaged; delete it and requeue again") from error
    return _carry_out(run, selection)


def drop_doubled(run: RunFolder) -> int:
    """Keep one outcome of each record; return how many others were taken out.

    A second one comes of scorers that outlived their driver. Needs 16 bytes of memory a record.
    """
    files = _files(run)
    with ThreadPoolExecutor(_READERS) as threads:
        ids = list(threads.map(_keys, files))
    doubled = np.ones(sum(map(len, ids)), dtype=bool)
    doubled[np.unique(np.concatenate(ids), return_index=True)[1] if ids else []] = False
    ends = np.cumsum([len(part) for part in ids])
    parts = np.split(doubled, ends[:-1]) if ids else []
    for file, part in zip(files, parts, strict=True):
        if part.any():
            _keep(file, pa.array(~part))
    return int(doubled.sum())


def _carry_out(run: RunFolder, selection: Selection) -> int:
    if selection.shard is not None:
        Ledger.read(run).forget(selection.shard).write(run)
    # A block that a kill cut short may hold a file that cannot be read.
    reconcile(*run.blocks)
    with ThreadPoolExecutor(_READERS) as threads:
        taken = sum(threads.map(lambda file: _take_from(file, selection), _files(run)))
    _journal(run).unlink()
    return taken


def _take_from(file: AnyPath, selection: Selection) -> int:
    """Take the rows meant out of a file of predictions; return how many there were."""
    matching = _matching(file, selection)
    if not matching:
        return 0
    _keep(file, pc.invert(_meant(_rows(file), selection)))
    return matching


def _meant(rows: pa.Table, selection: Selection) -> pa.Array:
    """Return which of N rows go: the checkpoint knows rows alone, so all records of a row."""
    found = rows["row_hash"].filter(selection.matches(rows))
    return pc.is_in(rows["row_hash"], value_set=found.combine_chunks())


def _keep(file: AnyPath, wanted: pa.Array) -> None:
    """Keep the wanted rows of a file of predictions alone.

    The block's ids are then more than its predictions, which `checkpoint.reconcile` mends.
    """
    rewrite(file, _rows(file).filter(wanted))


def _rows(file: AnyPath, columns: list[str] | None = None) -> pa.Table:
    with open_parquet(file) as parquet:
        return parquet.read(columns)


def _keys(file: AnyPath) -> npt.NDArray[np.uint64]:
    return record_keys(_rows(file, ["row_hash", "persona"]))


def _matching(file: AnyPath, selection: Selection) -> int:
    """Count the rows meant in one file, reading only the columns that tell."""
    parquet = open_parquet(file)
    names = [
        column.path
        for column in map(parquet.schema.column, range(len(parquet.schema)))
        if column.path in ("row_hash", "path", "reason") or column.path.endswith(".status")
    ]
    return pc.sum(_meant(parquet.read(columns=names), selection)).as_py() or 0


def _files(run: RunFolder) -> list[AnyPath]:
    return sorted(run.predictions.glob("*.parquet"))


def _journal(run: RunFolder) -> AnyPath:
    return run.path / "requeue.json"
