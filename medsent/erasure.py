"""Opinions that a run must hold no more: blanked where they are scored, never scored again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from medsent import accounting
from medsent.checkpoint import reconcile
from medsent.errors import RunError
from medsent.predictions import QUARANTINED, rewrite
from medsent.records import ERASED
from medsent.run import RunFolder
from medsent.storage import AnyPath, names_below, open_parquet

_FILE = "erased.json"
_FIGURES = "metrics.json"
_REPORTS = ("report.html", "report.md", _FIGURES, "drift.json")
"""May quote opinions, or count few enough records to tell of one."""
_STAYS = ("row_hash", "path", "persona")
_WORKERS = 4


@dataclass(frozen=True)
class Erased:
    """A run's list of opinions that it must not hold, as hashes of their ids."""

    hashes: frozenset[str] = frozenset()
    pending: bool = False
    """Whether some of them may still stand in the run's files."""

    @classmethod
    def read(cls, run: RunFolder) -> "Erased":
        """Read a run's list, an empty one where it has none. `RunError` where it is damaged."""
        file = run.path / _FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return cls(frozenset(values["opinions"]), bool(values["pending"]))
        except FileNotFoundError:
            return cls()
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{file} is damaged; put it back, for the run must not hold the opinions it lists"
            ) from error

    def write(self, run: RunFolder) -> None:
        """Write the list into a run, whole or not at all."""
        values = {"opinions": sorted(self.hashes), "pending": self.pending}
        run.write(_FILE, json.dumps(values, indent=1))

    def with_opinions(self, opinion_ids: Iterable[str]) -> "Erased":
        """Return the list with more opinions, which are still to be taken out."""
        return Erased(self.hashes | {_hash(name) for name in opinion_ids}, pending=True)

    def matches(self, opinion_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return which of N opinion ids are listed, as N booleans; a missing one is not."""
        names = opinion_ids.unique().drop_null()
        listed = [name for name in names.to_pylist() if _hash(name) in self.hashes]
        return pc.is_in(opinion_ids, value_set=pa.array(listed, pa.string()))

    def blank(self, rows: pa.Table) -> pa.Table:
        """Return records, or predictions, of which those of a listed opinion say nothing more.

        They keep the row's key and are quarantined as `erased`. They come last.
        """
        if not self.hashes:
            return rows
        gone = self.matches(rows["opinion_id"])
        if not pc.any(gone).as_py():
            return rows
        kept, blanked = rows.filter(pc.invert(gone)), rows.filter(gone)
        columns = [_blanked(blanked, field) for field in rows.schema]
        return pa.concat_tables([kept, pa.table(columns, schema=rows.schema)])

    def drop(self, rows: pa.Table) -> pa.Table:
        """Return the rows without those of a listed opinion."""
        return rows.filter(pc.invert(self.matches(rows["opinion_id"])))


@dataclass(frozen=True)
class Rewritten:
    """What an erasure wrote anew in a run."""

    records: int = 0
    """Records that were blanked in the predictions."""
    files: tuple[str, ...] = ()
    """Files of predictions that held them."""
    labelled_rows: int = 0
    labelled_files: tuple[str, ...] = ()
    complete: bool = False
    """Whether the run is complete: its manifest was written anew, and its report is to be."""


def erase(run: RunFolder, opinion_ids: Iterable[str]) -> Rewritten:
    """Take opinions out of a run.

    They are listed first, so that a kill on the way forgets nothing: see `resume`.
    """
    Erased.read(run).with_opinions(opinion_ids).write(run)
    return resume(run)


def resume(run: RunFolder) -> Rewritten:
    """Take out what a run's list still has to; every step may be done twice."""
    erased = Erased.read(run)
    if not erased.pending:
        return Rewritten()
    # Not at the head: every worker that reads rows imports this module.
    from medsent.backfill import handing

    scored, manifest = run.holds_predictions(), run.manifest()
    for file in _quoting(run):
        # Of an old night the figures are all there is: they stay, and its reports are made of them.
        if scored or file.name != _FIGURES:
            file.unlink(missing_ok=True)
    # A kill may have left blocks, or rows on their way out, that cannot be read.
    reconcile(*run.blocks)
    handing.finish(run)
    blanked = _each(run.predictions, erased, erased.blank)
    removed = _each(run.labelled, erased, erased.drop)
    if manifest is not None and scored:
        account = accounting.count(run, [])
        manifest["records"] = accounting.recounted(manifest["records"], account)
        run.write(run.manifest_file.name, json.dumps(manifest, indent=1))
    replace(erased, pending=False).write(run)
    return Rewritten(*blanked, *removed, complete=manifest is not None)


def _quoting(run: RunFolder) -> Iterator[AnyPath]:
    """Yield the reports, and what a kill left behind of writing files whole."""
    for name in _REPORTS:
        yield run.path / name
        yield from run.path.glob(f".{name}.*")
    for folder in (run.predictions, run.labelled):
        yield from _below(folder, ".*.parquet.*")


def _below(folder: AnyPath, pattern: str) -> list[AnyPath]:
    return [folder / name for name in names_below(folder, pattern)]


def _each(
    folder: AnyPath, erased: Erased, changed: Callable[[pa.Table], pa.Table]
) -> tuple[int, tuple[str, ...]]:
    """Write the files anew that hold listed opinions; return their rows, and which they were."""

    def write(name: str) -> int:
        file = folder / name
        with open_parquet(file) as parquet:
            ids = parquet.read(columns=["opinion_id"])["opinion_id"]
            found = pc.sum(erased.matches(ids)).as_py() or 0
            if found:
                rewrite(file, changed(parquet.read()))
        return int(found)

    names = names_below(folder, "*.parquet")
    with ThreadPoolExecutor(_WORKERS) as threads:
        rows = list(threads.map(write, names))
    return sum(rows), tuple(name for name, found in zip(names, rows, strict=True) if found)


def _blanked(rows: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    if field.name in _STAYS:
        return rows[field.name]
    stated = {"outcome": QUARANTINED, "reason": ERASED}
    if field.name in stated:
        return pa.repeat(pa.scalar(stated[field.name], field.type), rows.num_rows)
    return pa.nulls(rows.num_rows, field.type)


def _hash(opinion_id: str) -> str:
    return hashlib.blake2b(
        opinion_id.encode(), digest_size=16, person=b"medsent erased"
    ).hexdigest()
