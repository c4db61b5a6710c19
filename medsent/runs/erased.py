"""The opinions that a run must hold no more, and how a record of one is blanked.

What is erased is listed in the output folder, for all runs in it, those to come included: in
`erased/`, a file for each command, so that two commands at a time lose nothing. A run's own
`erased.json` says which of them are out of it.
"""

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PlainSerializer

from medsent.errors import RunError
from medsent.predictions import Outcome, Reason
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder
from medsent.storage.paths import AnyPath, write_whole

logger = logging.getLogger(__name__)

LISTS = "erased"
"""The folder of an output folder with what is erased from its runs."""
_FILE = "erased.json"
_CAME = "erased-on-arrival"
"""The folder of a run with lists of what was blanked before it was written."""
_REMEDY = "put it back, for no run must hold the opinions it lists"
_READERS = 16
_STAYS = ("row_hash", "path", "persona")


_Hashes = Annotated[frozenset[str], PlainSerializer(sorted)]
"""Written in order."""


class Listed(Written):
    """A file of an output folder's list."""

    opinions: _Hashes
    """Hashes of their ids."""


def list_erased(output: AnyPath, opinion_ids: Iterable[str]) -> None:
    """Add opinions to what no run of an output folder may hold; a file for each set of them."""
    _write_list(output / LISTS, map(opinion_hash, opinion_ids))


def list_carried(output: AnyPath) -> None:
    """Add to an output folder's list what its runs have erased and it does not have.

    Earlier versions listed erased opinions only in the run, and a run may have been moved here. A
    run's list that cannot be read is logged and skipped: commands on that run refuse it.
    """
    listed = listed_in(output)

    def own(folder: AnyPath) -> frozenset[str]:
        try:
            found = read_file(folder / _FILE, Erased, _REMEDY)
        except NotADirectoryError:
            return frozenset()
        except (OSError, RunError) as error:
            logger.warning(f"{error}. Until then other runs here may score them")
            return frozenset()
        return found.opinions if found else frozenset()

    with ThreadPoolExecutor(_READERS) as threads:
        found = frozenset[str]().union(*threads.map(own, output.glob("*")))
    if not found <= listed:
        _write_list(output / LISTS, found - listed)


def found_in(run: RunFolder) -> frozenset[str]:
    """Return the hashes of erased opinions that stood in a run, or were on their way into it."""
    with ThreadPoolExecutor(_READERS) as threads:
        came = threads.map(_list, (run.path / _CAME).glob("*.json"))
        return Erased.read(run).found.union(*came)


def listed_in(output: AnyPath) -> frozenset[str]:
    """Return the hashes of what no run of an output folder may hold.

    Raises `RunError` where a file of the list is damaged.
    """
    return frozenset[str]().union(*map(_list, (output / LISTS).glob("*.json")))


@cache
def _list(file: AnyPath) -> frozenset[str]:
    """Read a file of a list, only once: its name is a hash of its content."""
    read = read_file(file, Listed, _REMEDY)
    if read is None:
        raise RunError(f"{file} is gone; {_REMEDY}")
    return read.opinions


def _write_list(folder: AnyPath, hashes: Iterable[str]) -> None:
    text = Listed(opinions=frozenset(hashes)).to_json()
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.json", text)


class Erased(Written):
    """The opinions that a run must not hold: its own list, and its output folder's."""

    opinions: _Hashes
    """Hashes of their ids."""
    pending: bool
    """Whether some of them may still stand in the run's files."""
    found: _Hashes = frozenset()
    """Hashes of those that stood in the run when they were erased."""

    @classmethod
    def read(cls, run: RunFolder, listed: frozenset[str] | None = None) -> "Erased":
        """Read what a run must not hold; `listed` is its output folder's, where that is known.

        Raises `RunError` where a list is damaged.
        """
        own = read_file(run.path / _FILE, cls, _REMEDY) or cls(opinions=frozenset(), pending=False)
        more = listed_in(run.path.parent) if listed is None else listed
        pending = own.pending or not more <= own.opinions
        # An earlier version did not say which of its own it had found.
        found = own.found if "found" in own.model_fields_set else own.opinions
        update = {"opinions": own.opinions | more, "pending": pending, "found": found}
        return own.model_copy(update=update)

    def write(self, run: RunFolder) -> None:
        """Write the list into a run, whole or not at all."""
        run.write(_FILE, self.to_json())

    def with_opinions(self, opinion_ids: Iterable[str]) -> "Erased":
        """Return the list with more opinions, which are still to be taken out."""
        more = self.opinions.union(map(opinion_hash, opinion_ids))
        return self.model_copy(update={"opinions": more, "pending": True})

    def among(self, opinion_ids: pa.ChunkedArray) -> frozenset[str]:
        """Return the hashes of the listed opinions that are among these ids."""
        names = opinion_ids.unique().drop_null().to_pylist()
        return self.opinions.intersection(map(opinion_hash, names))

    def matches(self, opinion_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return which of N opinion ids are listed, as N booleans; a missing one is not."""
        names = opinion_ids.unique().drop_null()
        listed = [name for name in names.to_pylist() if opinion_hash(name) in self.opinions]
        return pc.is_in(opinion_ids, value_set=pa.array(listed, pa.string()))

    def blank(self, rows: pa.Table) -> pa.Table:
        """Return records, or predictions, with those of listed opinions blanked and put last.

        These keep only the row's key and are quarantined as `erased`.
        """
        if not self.opinions:
            return rows
        gone = self.matches(rows["opinion_id"])
        if not pc.any(gone).as_py():
            return rows
        kept, blanked = rows.filter(pc.invert(gone)), rows.filter(gone)
        columns = [_blanked(blanked, field) for field in rows.schema]
        return pa.concat_tables([kept, pa.table(columns, schema=rows.schema)])

    def blank_in(self, run: RunFolder, rows: pa.Table) -> pa.Table:
        """Blank rows before they are written into a run, and note there which opinions they held.

        The run's files never hold these opinions: without the note, `erase` would take their ids
        for mistyped ones.
        """
        if not self.opinions or not (found := self.among(rows["opinion_id"])):
            return rows
        _write_list(run.path / _CAME, found)
        return self.blank(rows)

    def drop(self, rows: pa.Table) -> pa.Table:
        """Return the rows without those of a listed opinion."""
        return rows.filter(pc.invert(self.matches(rows["opinion_id"])))


def _blanked(rows: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    if field.name in _STAYS:
        return rows[field.name]
    stated = {"outcome": Outcome.QUARANTINED, "reason": Reason.ERASED}
    if field.name in stated:
        return pa.repeat(pa.scalar(stated[field.name], field.type), rows.num_rows)
    return pa.nulls(rows.num_rows, field.type)


def opinion_hash(opinion_id: str) -> str:
    """Return what a list holds in place of an opinion's id."""
    return hashlib.blake2b(
        opinion_id.encode(), digest_size=16, person=b"medsent erased"
    ).hexdigest()
