"""The gold of some rows, looked at before anything is scored: are its votes votes?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.config.labels import nearest
from medsent.errors import InputError
from medsent.input.gold import is_names, read_gold, votes_of
from medsent.input.lookup import spread_over
from medsent.input.reading import opened
from medsent.input.shard import ShardError
from medsent.input.shards import Shards
from medsent.storage.paths import shown

_ROWS: Final = 500
_TOO_MANY: Final = 0.1
"""The share of rows with wrong gold from which on it is another kind of gold, and no slip."""
_NAMED: Final = 3
_WAY_OUT: Final = "or set input.columns.labels to null to go without gold"


@dataclass
class GoldSample:
    """What gold some rows have."""

    labels: Sequence[str]
    cut: float | None = None
    partly: Sequence[str] = ()
    """Labels that have a column, where too few have one."""
    rows: int = 0
    """Rows that were looked at, in shards that have a column of gold."""
    labelled: int = 0
    """How many of these rows say yes or no to some label."""
    wrong: int = 0
    """How many of these rows hold something that is neither a label nor a vote."""
    shares: int = 0
    """How many of these rows have a vote that is no whole number."""
    grades: int = 0
    """How many of these rows have a vote above 1."""
    names: Counter[str] = field(default_factory=Counter)
    """How often each name occurs that is no label of the job, whether it is like one or not."""
    empty: list[str] = field(default_factory=list)
    """Shards of which none of these rows has a label."""

    def look(self, path: str, rows: pa.Table) -> None:
        """Count the gold of some rows of a shard."""
        matrix, wrong = read_gold(rows, self.labels, self.cut)
        if matrix is None:
            self.empty += [path] if "labels" in rows.column_names else []
            return
        self.rows += rows.num_rows
        self.labelled += int((matrix >= 0).any(axis=1).sum())
        self.wrong += int(wrong.sum())
        if not (matrix > 0).any() and not wrong.any():
            self.empty.append(path)
        votes = votes_of(rows, self.labels)
        if votes is not None and self.cut is None:
            self.shares += int((np.isfinite(votes) & (votes > np.floor(votes))).any(axis=1).sum())
            self.grades += int((votes > 1).any(axis=1).sum())
        elif votes is None:
            self.names += _unknown(rows["labels"], self.labels)

    @property
    def is_of_another_kind(self) -> bool:
        """Whether so much of the gold is wrong that it is no slip."""
        return self.wrong >= _TOO_MANY * max(1, self.rows)

    def refuse(self) -> None:
        """Raise `InputError` where the gold is of another kind."""
        if self.is_of_another_kind:
            raise InputError(f"input.path: {self.what_is_wrong()}; {self._remedy()}")

    def told(self) -> str:
        """Say in one line what gold there is."""
        if not self.rows:
            few = f"; {', '.join(self.partly)} alone of the labels have a column, which is no gold"
            return "none, so that the report has no F1" + few * bool(self.partly)
        given = f"{self.labelled} of {self.rows} records that were looked at have it"
        if self.cut is None:
            return given
        return f"{given}; a vote from {self.cut:g} on is a yes (input.gold_cut)"

    def cautions(self) -> Iterator[str]:
        """Yield what of it wants a second look, a line each."""
        if self.wrong:
            yield f"{self.what_is_wrong()}: such rows are quarantined as bad_labels"
        if self.empty:
            named = ", ".join(map(shown, self.empty[:_NAMED]))
            yield (
                f"no record that was looked at has a label in {len(self.empty)} of the shards "
                f"({named}), though there is a column of gold: is it the right one?"
            )

    def what_is_wrong(self) -> str:
        """Say what the wrong gold is."""
        of = f"of {self.rows} rows that were looked at {self.wrong}"
        if self.shares and self.shares >= self.grades:
            return f"{of} have gold votes that are no whole numbers, as shares of annotators are"
        if self.grades:
            return f"{of} have gold votes above 1, as counts, grades or class ids are"
        near = [(name, nearest(name, self.labels)) for name, _ in self.names.most_common()]
        told = [f"{shown(name)!r} (is it {meant}?)" for name, meant in near if meant][:_NAMED]
        return f"{of} name what is no label of the job" + (f": {', '.join(told)}" if told else "")

    def _remedy(self) -> str:
        if self.shares or self.grades:
            return (
                "a vote is 0 or 1: write these, set input.gold_cut to the vote from which on a "
                f"label counts as given, {_WAY_OUT}"
            )
        return f"the labels are {', '.join(self.labels)}; rename those in the shards, {_WAY_OUT}"


def sample_gold(shards: Shards) -> GoldSample:
    """Look at the gold of the first rows of some shards; what cannot be read is passed over."""
    found = GoldSample(shards.labels, shards.gold_cut, shards.partly_labelled)
    some = spread_over(shards)
    most = max(1, _ROWS // max(1, len(some)))
    for shard in some:
        try:
            with opened(shards, shard) as file:
                for _, rows in islice(file.tables(["labels", *shards.labels], rows=most), 1):
                    found.look(shard.path, rows)
        except ShardError:  # the job itself says it, or goes on without the shard
            continue
    return found


def _unknown(column: pa.ChunkedArray, labels: Sequence[str]) -> Counter[str]:
    """Return how often each name that is no label occurs in a column of lists."""
    if not is_names(column.type):
        return Counter()
    names = pc.list_flatten(column).cast(pa.binary()).to_pylist()
    texts = (name.decode(errors="replace") for name in names if name is not None)
    return Counter(text for text in texts if text not in labels)
