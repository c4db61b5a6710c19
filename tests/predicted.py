"""Rows of predictions for tests, in the schema of a run, made column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medsent import predictions
from medsent.config.labels import LABELS

Matrix = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Answers:
    """One variant's column; whatever is None is null in every row."""

    labels: Matrix
    """(N, L) of 1, 0 or -1 for null."""
    statuses: Sequence[str | None] | None = None
    """Default: all `ok`."""
    probabilities: npt.NDArray[np.float32] | None = None
    """(N, L), NaN for null."""
    finished_at: Sequence[datetime | int | None] | None = None
    latency_s: Sequence[float | None] | None = None
    replicas: Sequence[str | None] | None = None
    prompt_tokens: Sequence[int | None] | None = None
    cached_tokens: Sequence[int | None] | None = None
    output_tokens: Sequence[int | None] | None = None
    repaired: Sequence[bool | None] | None = None


def named(number: int) -> tuple[str, ...]:
    """Return the names of so many labels: the 21 that ship, or others."""
    if number == len(LABELS):
        return LABELS
    return tuple(f"label {index}" for index in range(number))


def batch(
    gold: Matrix,
    variants: Mapping[str, Answers],
    columns: Mapping[str, Sequence[Any]] | None = None,
    labels: Sequence[str] | None = None,
) -> pa.RecordBatch:
    """Return N rows of predictions, all scored unless `columns` has `outcome`.

    The labels are those of `named` where they are not given.
    """
    names = labels or named(gold.shape[1])
    rows = len(gold)
    given = {"outcome": [predictions.Outcome.SCORED] * rows, **(columns or {})}
    kept = [pa.field(n, pa.string()) for n in given if n not in predictions.KEYS]
    schema = predictions.schema(list(variants), names, kept)
    arrays = []
    for field in schema:
        if field.name in variants:
            arrays.append(_prediction(variants[field.name], names))
        elif field.name == "gold":
            arrays.append(_by_label(gold, pa.int8(), gold < 0, names))
        else:
            arrays.append(pa.array(given.get(field.name, [None] * rows), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _prediction(answers: Answers, names: Sequence[str]) -> pa.StructArray:
    rows = len(answers.labels)
    values: dict[str, Any] = {
        "status": answers.statuses
        if answers.statuses is not None
        else [predictions.AnswerStatus.OK] * rows,
        "labels": _by_label(answers.labels, pa.bool_(), answers.labels < 0, names),
        "finished_at": answers.finished_at,
        "latency_s": answers.latency_s,
        "replica": answers.replicas,
        "prompt_tokens": answers.prompt_tokens,
        "cached_tokens": answers.cached_tokens,
        "output_tokens": answers.output_tokens,
        "repaired": answers.repaired,
    }
    if answers.probabilities is not None:
        found = answers.probabilities
        values["probabilities"] = _by_label(found, pa.float32(), np.isnan(found), names)
    kind = predictions.prediction_type(names)
    return pa.StructArray.from_arrays(
        [_array(values.get(field.name), field.type, rows) for field in kind], fields=list(kind)
    )


def _array(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.nulls(rows, kind) if values is None else pa.array(values, kind)


def _by_label(
    matrix: npt.NDArray[Any], kind: pa.DataType, null: npt.NDArray[Any], names: Sequence[str]
) -> pa.Array:
    values = matrix.astype(bool) if pa.types.is_boolean(kind) else matrix
    return pa.StructArray.from_arrays(
        [
            pa.array(
                np.ascontiguousarray(values[:, i]), kind, mask=np.ascontiguousarray(null[:, i])
            )
            for i in range(len(names))
        ],
        fields=[pa.field(label, kind) for label in names],
    )


def random_rows(
    seed: int,
    rows: int,
    missing: float,
    positive: float,
    unusable: float,
    labels: int = len(LABELS),
) -> pa.RecordBatch:
    """Return random rows of the variants `baseline` and `candidate`, and the column `clinic`.

    Shares: `missing` of gold cells, `positive` of gold and predictions, `unusable` answers.
    About one label in four has no positives at all.
    """
    rng = np.random.default_rng(seed)
    absent = rng.random(labels) < 0.25
    gold = _random_labels(rng, rows, positive, missing, absent)
    variants = {}
    for name in ("baseline", "candidate"):
        failed = rng.random(rows) < unusable
        kinds = rng.choice(["invalid_answer", "truncated", "engine_error"], rows)
        finished = (1_780_000_000_000_000 + rng.integers(0, 60_000_000, rows)).tolist()
        lost = (rng.random(rows) < 0.05).tolist()
        prompt = rng.integers(1, 200, rows)
        variants[name] = Answers(
            # An unusable answer may have left anything behind: it must not be looked at.
            labels=_random_labels(rng, rows, positive, 0.02 * unusable, absent),
            statuses=np.where(failed, kinds, predictions.AnswerStatus.OK).tolist(),
            finished_at=[None if gone else t for gone, t in zip(lost, finished, strict=True)],
            latency_s=rng.lognormal(0, 1, rows).astype(np.float32).tolist(),
            replicas=rng.choice(["a", "b"], rows).tolist(),
            prompt_tokens=prompt.tolist(),
            cached_tokens=(prompt // 2).tolist(),
            output_tokens=rng.integers(1, 9, rows).tolist(),
        )
    quarantined = rng.random(rows) < 0.1
    columns = {
        "outcome": np.where(
            quarantined, predictions.Outcome.QUARANTINED, predictions.Outcome.SCORED
        ).tolist(),
        "reason": [str(rng.choice(["too_long", "empty_text"])) if q else None for q in quarantined],
        "language": rng.choice(["pl", "en"], rows).tolist(),
        "persona": [None if p == "none" else str(p) for p in rng.choice(["x", "y", "none"], rows)],
        "clinic": [str(c) for c in rng.integers(0, 4, rows)],
    }
    return batch(gold, variants, columns)


def _random_labels(
    rng: np.random.Generator,
    rows: int,
    positive: float,
    missing: float,
    absent: npt.NDArray[np.bool_],
) -> Matrix:
    values = (rng.random((rows, len(absent))) < positive).astype(np.int8)
    values[:, absent] = 0
    values[rng.random(values.shape) < missing] = -1
    return values
