"""Languages as names of folders: a column of too many values must not stop a hand-over."""

from collections.abc import Collection
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

OTHER: Final = "other"


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
