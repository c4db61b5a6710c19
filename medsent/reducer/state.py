"""The one state that predictions are reduced to: empty, add a batch, merge two.

Integers only, so that any order and any split over workers gives the same state, of a size
that does not depend on the number of rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.errors import ConfigError, RunError
from medsent.labels import LABELS
from medsent.predictions import OK, QUARANTINED, SCORED, label_matrix, probability_matrix
from medsent.reducer.counts import Counts, Ints, Matrix, count_groups
from medsent.reducer.slices import SliceKey, check_values, groupings
from medsent.reducer.throughput import Throughput

NO_PREDICTION = "no_prediction"


@dataclass(frozen=True)
class Scope:
    """What is counted; states merge only where this is equal."""

    variants: tuple[str, ...]
    """In the order of the predictions' columns."""
    slices: tuple[str, ...] = ()
    """Columns to slice by."""
    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By variant, 21 each: labels are then made from the stored probabilities."""

    @classmethod
    def of(
        cls,
        variants: Sequence[str],
        slices: Sequence[str] = (),
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> "Scope":
        """Check and order the settings; `ConfigError` for a wrong variant or label."""
        for variant, by_label in (thresholds or {}).items():
            _check_thresholds(variant, by_label, variants)
        ordered = {
            variant: tuple(by_label[label] for label in LABELS)
            for variant, by_label in (thresholds or {}).items()
        }
        return cls(tuple(variants), tuple(dict.fromkeys(slices)), ordered)


@dataclass
class Reduction:
    """The state. Make it with a scope, `add` batches of predictions, `merge` with others."""

    scope: Scope
    slices: dict[SliceKey, dict[str, Counts]] = field(default_factory=dict)
    """Counts of scored rows by slice and variant; `slices.ALL` is every row."""
    scored: int = 0
    """Rows with outcome `scored`."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """The other rows, by reason."""
    throughput: Throughput = field(init=False)
    """Timing of the same rows."""

    def __post_init__(self) -> None:
        self.throughput = Throughput(self.scope.variants)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of rows of `medsent.predictions.schema`.

        A row whose status is not `ok` is counted in its status and, per label, as
        unanswered: never as zeros. Raises `RunError` for rows that are not predictions of
        the scope's variants, `ConfigError` for slices or thresholds that do not fit them.
        """
        rows = self._scored(batch)
        if not rows.num_rows:
            return
        gold = label_matrix(rows["gold"], "")
        groups = list(groupings(rows, self.scope.slices))
        for variant in self.scope.variants:
            column = rows[variant]
            predicted = self._predicted(variant, column)
            statuses, status = _encode(pc.struct_field(column, "status"))
            for group in groups:
                counted = count_groups(
                    gold, predicted, statuses, status, group.codes, len(group.keys)
                )
                for key, counts in zip(group.keys, counted, strict=True):
                    self._put(key, variant, counts)
            self.throughput.add(variant, column)
        check_values(list(self.slices), self.scope.slices)

    def merge(self, other: "Reduction") -> "Reduction":
        """Return the state of the rows of both."""
        if self.scope != other.scope:
            raise ValueError("states of different scopes do not merge")
        merged = Reduction(self.scope, scored=self.scored + other.scored)
        merged.quarantined = self.quarantined + other.quarantined
        merged.throughput = self.throughput.merge(other.throughput)
        for state in (self, other):
            for key, counts in state.slices.items():
                for variant, part in counts.items():
                    merged._put(key, variant, part)
        check_values(list(merged.slices), self.scope.slices)
        return merged

    def _scored(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Count outcomes; return the scored rows with the columns that are counted."""
        absent = [v for v in self.scope.variants if v not in batch.schema.names]
        if absent:
            raise RunError(
                f"the predictions hold no variant {absent[0]!r}; was the run made with another "
                "configuration?"
            )
        scored = pc.fill_null(pc.equal(batch["outcome"], SCORED), False)
        rest = batch.select(["outcome", "reason"]).filter(pc.invert(scored))
        if set(rest["outcome"].unique().to_pylist()) - {QUARANTINED}:
            raise RunError("the predictions hold a row that is neither scored nor quarantined")
        self.quarantined.update(_tally(pc.fill_null(rest["reason"], "unknown")))
        kept = [name for name in self.scope.slices if name in batch.schema.names]
        names = list(dict.fromkeys(["gold", *kept, *self.scope.variants]))
        rows = batch.select(names)
        rows = rows.filter(scored) if rest.num_rows else rows
        self.scored += rows.num_rows
        return rows

    def _predicted(self, variant: str, column: pa.StructArray) -> Matrix:
        """Return (N, 21) of 1, 0 or -1 where there is no usable prediction."""
        labels = label_matrix(column, "labels")
        cuts = self.scope.thresholds.get(variant)
        if cuts is not None:
            labels = _relabel(variant, column, labels, cuts)
        ok = pc.fill_null(pc.equal(pc.struct_field(column, "status"), OK), False)
        labels[~np.asarray(ok)] = -1
        return labels

    def _put(self, key: SliceKey, variant: str, counts: Counts) -> None:
        mine = self.slices.setdefault(key, {})
        mine[variant] = mine[variant].merge(counts) if variant in mine else counts


def reduce_batches(batches: Iterable[pa.RecordBatch], scope: Scope) -> Reduction:
    """Return the state of all rows of the batches."""
    state = Reduction(scope)
    for batch in batches:
        state.add(batch)
    return state


def _check_thresholds(variant: str, by_label: Mapping[str, float], variants: Sequence[str]) -> None:
    if variant not in variants:
        raise ConfigError(f"thresholds: there is no variant {variant!r} in the predictions")
    wrong = sorted(set(by_label).symmetric_difference(LABELS))
    if wrong:
        raise ConfigError(
            f"variants.{variant}.thresholds: {wrong[0]!r} is absent or no label; "
            "give one threshold for each of the 21 labels"
        )


def _relabel(
    variant: str, column: pa.StructArray, labels: Matrix, cuts: tuple[float, ...]
) -> Matrix:
    probabilities = probability_matrix(column).astype(np.float64)
    unknown = np.isnan(probabilities)
    if (unknown & (labels >= 0)).any():
        raise ConfigError(
            f"variants.{variant}.thresholds: the predictions hold labels without probabilities "
            "(method json gives none); take the thresholds out, or use method bits or onepass"
        )
    return np.where(unknown, -1, probabilities >= np.array(cuts)).astype(np.int8)


def _encode(status: pa.Array) -> tuple[list[str], Ints]:
    encoded = pc.dictionary_encode(pc.fill_null(status, NO_PREDICTION))
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)


def _tally(values: pa.Array) -> dict[str, int]:
    return {str(part["values"]): int(part["counts"]) for part in values.value_counts().to_pylist()}
