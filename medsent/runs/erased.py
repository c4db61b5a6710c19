"""A run's list of opinions that it must hold no more, and how a record of one is blanked."""

import hashlib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_serializer

from medsent.predictions import Outcome, Reason
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder

_FILE = "erased.json"
_STAYS = ("row_hash", "path", "persona")


class Erased(Written):
    """A run's list of opinions that it must not hold."""

    opinions: frozenset[str]
    """Hashes of their ids."""
    pending: bool
    """Whether some of them may still stand in the run's files."""

    @classmethod
    def read(cls, run: RunFolder) -> "Erased":
        """Read a run's list, an empty one where it has none. `RunError` where it is damaged."""
        remedy = "put it back, for the run must not hold the opinions it lists"
        found = read_file(run.path / _FILE, cls, remedy)
        return found or cls(opinions=frozenset(), pending=False)

    def write(self, run: RunFolder) -> None:
        """Write the list into a run, whole or not at all."""
        run.write(_FILE, self.to_json())

    @field_serializer("opinions")
    def _in_order(self, opinions: frozenset[str]) -> list[str]:
        return sorted(opinions)

    def with_opinions(self, opinion_ids: Iterable[str]) -> "Erased":
        """Return the list with more opinions, which are still to be taken out."""
        more = {hash_id(name) for name in opinion_ids}
        return Erased(opinions=self.opinions | more, pending=True)

    def matches(self, opinion_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return which of N opinion ids are listed, as N booleans; a missing one is not."""
        names = opinion_ids.unique().drop_null()
        listed = [name for name in names.to_pylist() if hash_id(name) in self.opinions]
        return pc.is_in(opinion_ids, value_set=pa.array(listed, pa.string()))

    def blank(self, rows: pa.Table) -> pa.Table:
        """Return records, or predictions, of which those of a listed opinion say nothing more.

        They keep the row's key and are quarantined as `erased`. They come last.
        """
        if not self.opinions:
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


def _blanked(rows: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    if field.name in _STAYS:
        return rows[field.name]
    stated = {"outcome": Outcome.QUARANTINED, "reason": Reason.ERASED}
    if field.name in stated:
        return pa.repeat(pa.scalar(stated[field.name], field.type), rows.num_rows)
    return pa.nulls(rows.num_rows, field.type)


def hash_id(opinion_id: str) -> str:
    """Return the hash of an id that a run keeps in its place."""
    return hashlib.blake2b(
        opinion_id.encode(), digest_size=16, person=b"medsent erased"
    ).hexdigest()
