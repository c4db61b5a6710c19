"""The one state that predictions are reduced to: empty, add a batch, merge two.

Integers only, so that any order and any split over workers gives the same state, of a size
that does not depend on the number of rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.errors import ConfigError, RunError
from medsent.predictions import ROUTED, AnswerStatus, Outcome, label_matrix, probability_matrix
from medsent.reducer.counts import Counts, Ints, Matrix, count_groups
from medsent.reducer.equality import K, M, put
from medsent.reducer.pairs import Pair, Sides
from medsent.reducer.resamples import Clusters, Resamples, observe, resample
from medsent.reducer.scores import Scores, count_scores
from medsent.reducer.slices import MAX_RESAMPLED, Grouping, SliceKey, groupings, is_crowded
from medsent.reducer.throughput import Throughput
from medsent.reducer.weights import Keys, opinion_keys, poisson_weights


@dataclass(frozen=True)
class Scope:
    """What is counted; states merge only where this is equal."""

    variants: tuple[str, ...]
    """In the order of the predictions' columns."""
    labels: tuple[str, ...]
    """In the order of the predictions' fields."""
    slices: tuple[str, ...] = ()
    """Columns to slice by."""
    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By variant, one a label: labels are then made from the stored probabilities."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Baseline and candidate of each comparison."""
    replicates: int = 0
    """Of the bootstrap; 0: no intervals."""
    seed: int = 0
    """Of the bootstrap's weights."""
    route: tuple[str, str] | None = None
    """Candidate and fallback, where a record asks one of them."""

    @property
    def judged(self) -> tuple[str, ...]:
        """Names under which answers are counted: the variants and, with a route, `routed`."""
        return (*self.variants, ROUTED) if self.route else self.variants

    @classmethod
    def of(
        cls,
        variants: Sequence[str],
        labels: Sequence[str],
        slices: Sequence[str] = (),
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        pairs: Sequence[tuple[str, str]] = (),
        replicates: int = 0,
        seed: int = 0,
        route: tuple[str, str] | None = None,
    ) -> "Scope":
        """Check and order the settings; `ConfigError` for a wrong variant or label."""
        for name in (name for pair in pairs for name in pair):
            if name not in variants:
                raise ConfigError(f"compare: there is no variant {name!r} in the predictions")
        for variant, by_label in (thresholds or {}).items():
            _check_thresholds(variant, by_label, variants, labels)
        ordered = {
            variant: tuple(by_label[label] for label in labels)
            for variant, by_label in (thresholds or {}).items()
        }
        return cls(
            tuple(variants),
            tuple(labels),
            tuple(dict.fromkeys(slices)),
            ordered,
            tuple(dict.fromkeys(pairs)),
            replicates,
            seed,
            route,
        )

    def answers(self, variant: str, column: pa.StructArray) -> "Answers":
        """Return a variant's answers in a batch's column, by the thresholds in use."""
        labels, probabilities = label_matrix(column, "labels"), probability_matrix(column)
        cuts = self.thresholds.get(variant)
        if cuts is not None:
            labels = _relabel(variant, probabilities, labels, cuts)
        status = pc.struct_field(column, "status")
        answered = np.asarray(pc.fill_null(pc.equal(status, AnswerStatus.OK), False))
        labels[~answered] = -1
        probabilities[~answered] = np.nan
        asked = np.asarray(column.is_valid()) if self.route else np.ones(len(column), dtype=bool)
        return Answers(labels, probabilities, answered, *_encode(status), asked)

    def all_answers(self, rows: pa.RecordBatch) -> "dict[str, Answers]":
        """Return a batch's answers of each variant, and with a route those that count."""
        answers = {name: self.answers(name, rows[name]) for name in self.variants}
        if self.route:
            candidate, fallback = (answers[name] for name in self.route)
            mine = np.asarray(pc.fill_null(pc.equal(rows[ROUTED], self.route[0]), False))
            answers[ROUTED] = candidate.where(mine, fallback)
        return answers


@dataclass(frozen=True)
class Answers:
    """One variant's answers to a batch."""

    labels: Matrix
    """(N, L) of 1, 0 or -1 where there is no usable prediction."""
    probabilities: npt.NDArray[np.float32]
    """(N, L), NaN where there is none."""
    answered: npt.NDArray[np.bool_]
    """(N,)"""
    statuses: list[str]
    status: Ints
    """(N,) index of each row's status."""
    asked: npt.NDArray[np.bool_]
    """(N,) which rows the variant was asked about: not all, where there is a route."""

    def where(self, mine: npt.NDArray[np.bool_], other: "Answers") -> "Answers":
        """Return these answers on the rows that are `mine`, (N,), and the other's elsewhere."""
        statuses = list(dict.fromkeys([*self.statuses, *other.statuses]))
        own, others = (
            np.array([statuses.index(status) for status in each.statuses])[each.status]
            for each in (self, other)
        )
        return Answers(
            np.where(mine[:, None], self.labels, other.labels),
            np.where(mine[:, None], self.probabilities, other.probabilities),
            np.where(mine, self.answered, other.answered),
            statuses,
            np.where(mine, own, others),
            np.where(mine, self.asked, other.asked),
        )

    @property
    def both(self) -> tuple[Matrix, npt.NDArray[np.bool_]]:
        """The labels, and which rows have any."""
        return self.labels, self.answered


@dataclass
class Reduction:
    """The state. Make it with a scope, `add` batches of predictions, `merge` with others."""

    scope: Scope
    slices: dict[SliceKey, dict[str, Counts]] = field(default_factory=dict)
    """Counts of scored rows by slice and variant; `slices.ALL` is every row."""
    resamples: dict[SliceKey, dict[str, Resamples]] = field(default_factory=dict)
    """The same in each replicate; not for a column with many values."""
    pairs: dict[SliceKey, dict[tuple[str, str], Pair]] = field(default_factory=dict)
    """Counts of the records that both of a pair answered."""
    scores: dict[str, Scores] = field(default_factory=dict)
    """Probabilities of usable answers, by variant."""
    repaired: dict[str, int] = field(default_factory=dict)
    """Usable answers that were repaired, by variant; only of those whose rows tell of it."""
    scored: int = 0
    """Rows with outcome `scored`."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """The other rows, by reason."""
    crowded: set[str] = field(default_factory=set)
    """Columns of slices that are left out, for they have too many values."""
    throughput: Throughput = field(init=False)
    """Timing of the same rows."""

    def __post_init__(self) -> None:
        self.throughput = Throughput(self.scope.variants)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of rows of `medsent.predictions.schema`.

        A row whose status is not `ok` is counted in its status and, per label, as
        unanswered: never as zeros. A row that a route did not send to a variant is not counted
        for that variant. Raises `RunError` for rows that are not predictions of the scope's
        variants, `ConfigError` for slices or thresholds that do not fit them.
        """
        rows = self._scored(batch)
        if not rows.num_rows:
            return
        gold = label_matrix(rows["gold"], "")
        groups = list(groupings(rows, [c for c in self.scope.slices if c not in self.crowded]))
        self.crowded |= {g.keys[0][0] for g in groups if is_crowded(g.keys[0][0], g.keys)}
        groups = [group for group in groups if group.keys[0][0] not in self.crowded]
        answers = self.scope.all_answers(rows)
        for variant, answer in answers.items():
            for group in groups:
                self._count(group, variant, gold, answer)
        # Not for the answers of a route taken together, since they come from two models.
        for variant in self.scope.variants:
            scored = count_scores(gold, answers[variant].probabilities)
            put(self.scores, variant, scored)
            self._count_repaired(variant, rows[variant])
            self.throughput.add(variant, rows[variant])
        self._resample(rows, groups, gold, answers)
        self._settle()

    def merge(self, other: "Reduction") -> "Reduction":
        """Return the state of the rows of both."""
        if self.scope != other.scope:
            raise ValueError("states of different scopes do not merge")
        merged = Reduction(self.scope, scored=self.scored + other.scored)
        merged.crowded = self.crowded | other.crowded
        merged.quarantined = self.quarantined + other.quarantined
        merged.throughput = self.throughput.merge(other.throughput)
        for variant, repaired in (*self.repaired.items(), *other.repaired.items()):
            merged.repaired[variant] = merged.repaired.get(variant, 0) + repaired
        for state in (self, other):
            for key, counts in state.slices.items():
                for variant, part in counts.items():
                    _put_slice(merged.slices, key, variant, part)
            for key, resampled in state.resamples.items():
                for variant, some in resampled.items():
                    _put_slice(merged.resamples, key, variant, some)
            for key, pairs in state.pairs.items():
                for names, pair in pairs.items():
                    _put_slice(merged.pairs, key, names, pair)
            for variant, scored in state.scores.items():
                put(merged.scores, variant, scored)
        merged._settle()
        return merged

    def _scored(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Count outcomes; return the scored rows with the columns that are counted."""
        absent = [v for v in self.scope.judged if v not in batch.schema.names]
        if absent:
            raise RunError(
                f"the predictions hold no variant {absent[0]!r}; was the run made with another "
                "configuration?"
            )
        given = tuple(field.name for field in batch.schema.field("gold").type)
        if given != self.scope.labels:
            raise RunError(
                f"the predictions are of {len(given)} labels ({', '.join(given)}), and expected "
                f"are {len(self.scope.labels)} ({', '.join(self.scope.labels)})"
            )
        scored = pc.fill_null(pc.equal(batch["outcome"], Outcome.SCORED), False)
        rest = batch.select(["outcome", "reason"]).filter(pc.invert(scored))
        if set(rest["outcome"].unique().to_pylist()) - {Outcome.QUARANTINED}:
            raise RunError("the predictions hold a row that is neither scored nor quarantined")
        self.quarantined.update(pc.fill_null(rest["reason"], "unknown").to_pylist())
        kept = [name for name in self.scope.slices if name in batch.schema.names]
        names = list(dict.fromkeys(["gold", "opinion_id", *kept, *self.scope.judged]))
        rows = batch.select(names)
        rows = rows.filter(scored) if rest.num_rows else rows
        self.scored += rows.num_rows
        return rows

    def _count(self, group: Grouping, variant: str, gold: Matrix, answer: Answers) -> None:
        at = slice(None) if answer.asked.all() else answer.asked
        counted = count_groups(
            gold[at],
            answer.labels[at],
            answer.statuses,
            answer.status[at],
            group.codes[at],
            len(group.keys),
        )
        for key, counts in zip(group.keys, counted, strict=True):
            _put_slice(self.slices, key, variant, counts)

    def _count_repaired(self, variant: str, column: pa.StructArray) -> None:
        if column.type.get_field_index("repaired") < 0:
            return  # a run of an earlier version
        repaired = pc.struct_field(column, "repaired")
        if repaired.null_count < len(repaired):
            usable = pc.equal(pc.struct_field(column, "status"), AnswerStatus.OK)
            found = pc.sum(pc.and_(usable, repaired)).as_py() or 0
            self.repaired[variant] = self.repaired.get(variant, 0) + found

    def _resample(
        self,
        rows: pa.RecordBatch,
        groups: Sequence[Grouping],
        gold: Matrix,
        answers: Mapping[str, Answers],
    ) -> None:
        """Count what intervals and comparisons need, opinion by opinion."""
        keys, opinions = place_opinions(rows["opinion_id"])
        weights = poisson_weights(keys, self.scope.seed, self.scope.replicates)
        seen = {
            name: observe(gold, each.labels, each.answered, each.asked)
            for name, each in answers.items()
            if self.scope.replicates
        }
        sides = {
            (a, b): Sides.of(gold, answers[a].both, answers[b].both) for a, b in self.scope.pairs
        }
        for group in groups:
            size = len(group.keys)
            clusters = Clusters.gather(group.codes, opinions, len(keys))
            drawn = weights if self._resamples(group.keys[0][0]) else None
            if drawn is not None:
                for name, observed in seen.items():
                    found = resample(observed, clusters, keys, drawn, size)
                    for key, some in zip(group.keys, found, strict=True):
                        _put_slice(self.resamples, key, name, some)
            for names, side in sides.items():
                pairs = side.count(group.codes, size, clusters, keys, drawn)
                for key, pair in zip(group.keys, pairs, strict=True):
                    _put_slice(self.pairs, key, names, pair)

    def _resamples(self, column: str) -> bool:
        values = sum(name == column for name, _ in self.slices)
        return self.scope.replicates > 0 and values <= MAX_RESAMPLED

    def _settle(self) -> None:
        """Drop a column with too many values, and the replicates of one with many."""
        for column in self.scope.slices:
            if column in self.crowded or is_crowded(column, self.slices):
                self.crowded.add(column)
                for part in (self.slices, self.resamples, self.pairs):
                    for key in [key for key in part if key[0] == column]:
                        del part[key]
            elif not self._resamples(column):
                for key in [key for key in self.slices if key[0] == column]:
                    self.resamples.pop(key, None)
                    for names, pair in self.pairs.get(key, {}).items():
                        self.pairs[key][names] = replace(pair, resampled=None)


def reduce_batches(batches: Iterable[pa.RecordBatch], scope: Scope) -> Reduction:
    """Return the state of all rows of the batches."""
    state = Reduction(scope)
    for batch in batches:
        state.add(batch)
    return state


def _check_thresholds(
    variant: str, by_label: Mapping[str, float], variants: Sequence[str], labels: Sequence[str]
) -> None:
    if variant not in variants:
        raise ConfigError(f"thresholds: there is no variant {variant!r} in the predictions")
    wrong = sorted(set(by_label).symmetric_difference(labels))
    if wrong:
        raise ConfigError(
            f"variants.{variant}.thresholds: {wrong[0]!r} is absent or no label; "
            f"give one threshold for each of the {len(labels)} labels"
        )


def _relabel(
    variant: str,
    probabilities: npt.NDArray[np.float32],
    labels: Matrix,
    cuts: tuple[float, ...],
) -> Matrix:
    unknown = np.isnan(probabilities)
    if (unknown & (labels >= 0)).any():
        raise ConfigError(
            f"variants.{variant}.thresholds: the predictions hold labels without probabilities "
            "(lists and answers without guidance have none); take the thresholds out, or use a "
            "method that stores probabilities"
        )
    given = probabilities.astype(np.float64) >= np.array(cuts)
    return np.where(unknown, -1, given).astype(np.int8)


def place_opinions(ids: pa.Array) -> tuple[Keys, Ints]:
    """Return the opinions' keys in ascending order, and of which opinion each row is."""
    encoded = pc.dictionary_encode(pc.fill_null(ids, ""))
    hashed = opinion_keys(encoded.dictionary.to_pylist())
    keys, place = np.unique(hashed, return_inverse=True)
    return keys, place[np.asarray(encoded.indices, dtype=np.int64)]


def _put_slice(parts: dict[SliceKey, dict[K, M]], key: SliceKey, name: K, part: M) -> None:
    """Merge a part into what there is of its slice and name."""
    put(parts.setdefault(key, {}), name, part)


def _encode(status: pa.Array) -> tuple[list[str], Ints]:
    encoded = pc.dictionary_encode(pc.fill_null(status, AnswerStatus.NO_PREDICTION))
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)
