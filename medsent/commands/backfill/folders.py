"""Languages as names of folders: a column of other values must not stop a hand-over."""

from collections.abc import Collection
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

OTHER: Final = "other"
_LONGEST: Final = 100
"""Bytes of a name, as it stands in a path; a file system takes 255."""


class LanguageFolders:
    """Names the languages that have no folder of their own `other`, and counts their rows."""

    def __init__(self, known: Collection[str] | None = None) -> None:
        """Only those of `known` have one, where it is given; else each whose name fits."""
        self._known = known
        self.others = 0

    def named(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows with each language as its folder is named; a missing one stays so."""
        languages = rows["language"]
        unfit = [each for each in languages.unique().drop_null().to_pylist() if not self._has(each)]
        if not unfit:
            return rows
        other = pc.is_in(languages, value_set=pa.array(unfit, pa.string()))
        self.others += pc.sum(other).as_py()
        named = pc.if_else(other, OTHER, languages)
        return rows.set_column(rows.schema.get_field_index("language"), "language", named)

    def _has(self, language: str) -> bool:
        if self._known is not None:
            return language in self._known
        return len(quote(language, safe="")) <= _LONGEST
