"""Values that become the names of folders.

Those that no file system takes are shortened, and languages of too many are put together.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

OTHER: Final = "other"
_LONGEST: Final = 200
"""Bytes of a value as a folder's name has it; with the column's a name has 255 at most."""
_DIGITS: Final = 12


class Shortened:
    """Rows whose values are fit to name folders, and how many were not."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are the columns that become folders."""
        self._names = names
        self.rows = 0
        """Rows with a shortened value."""

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches, with too long values as their beginning and a hash of the whole."""
        self.rows = 0
        for batch in batches:
            whole = batch
            for name in self._names:
                if pa.types.is_string(batch[name].type):
                    whole = self._without_long(whole, name)
            yield whole

    def _without_long(self, batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
        column = batch[name]
        if not pc.any(pc.greater(pc.binary_length(column), _LONGEST // 3)).as_py():
            return batch
        fit = pa.array([value and folder_name(value) for value in column.to_pylist()], pa.string())
        self.rows += int(pc.sum(pc.fill_null(pc.not_equal(fit, column), False)).as_py() or 0)
        return batch.set_column(batch.schema.get_field_index(name), name, fit)


def folder_name(value: str) -> str:
    """Return a value that a folder can be named by: itself, or where it is too long its beginning.

    A hash of the whole stands behind that, so that different values stay different.
    """
    if len(quote(value, safe="")) <= _LONGEST:
        return value
    digest = hashlib.blake2b(value.encode(), digest_size=_DIGITS // 2).hexdigest()
    end = len(value)
    while len(quote(value[:end], safe="")) > _LONGEST - _DIGITS - 1:
        end = min(end - 1, _LONGEST)
    return f"{value[:end]}~{digest}"


class LanguageFolders:
    """Names the languages that have no folder of their own `other`, and counts their rows."""

    def __init__(self, known: Collection[str]) -> None:
        """Only those of `known` have one."""
        self._known = known
        self.others = 0

    def named(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows with each language as its folder is named; a missing one stays so."""
        languages = rows["language"]
        found = languages.unique().drop_null().to_pylist()
        unfit = [each for each in found if each not in self._known]
        if not unfit:
            return rows
        other = pc.is_in(languages, value_set=pa.array(unfit, pa.string()))
        self.others += pc.sum(other).as_py()
        named = pc.if_else(other, OTHER, languages)
        return rows.set_column(rows.schema.get_field_index("language"), "language", named)
