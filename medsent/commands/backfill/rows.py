"""Rows for others to read: the usable answers of the predictions, with what gave them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.commands.backfill.settings import LABELLED
from medsent.reducer.state import Answers, Scope
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import Plan
from medsent.scoring.variant import Variant
from medsent.storage.paths import AnyPath


def schema(
    partition_by: Iterable[str], labels: Sequence[str], kept: Iterable[pa.Field] = ()
) -> pa.Schema:
    """Return the schema of the labelled rows, of which files lack what their folders tell.

    (row_hash, persona, variant) is a row's key. `labels` and `probabilities` are structs of
    the labels; a method that gives no probabilities leaves those null.
    """
    answers = predictions.prediction_type(labels)
    types = predictions.key_types(labels) | {
        "labels": answers.field("labels").type,
        "probabilities": answers.field("probabilities").type,
        "labelled_at": answers.field("finished_at").type,
    }
    names = [name for name in LABELLED if name != "month" or name in partition_by]
    fields = [pa.field(name, types.get(name, pa.string())) for name in names]
    return pa.schema([*fields, *kept])


def labelled_rows(
    plan: Plan, run: RunFolder, files: list[AnyPath], rows: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the labelled rows of some files of predictions, a variant after the other.

    Labels are made of the stored probabilities by the plan's thresholds, as in a report. With
    a route a record has one row, of the answer that counts. An opinion that was erased since it
    was scored has none.
    """
    route = plan.config.route
    scope = Scope.of(
        [v.name for v in plan.variants],
        plan.labels.names,
        thresholds={v.name: v.thresholds for v in plan.variants if v.has_probabilities},
    )
    read = [name for name in rows.names if name in predictions.KEYS]
    erased = Erased.read(run)
    columns = [*read, "outcome", *(field.name for field in plan.shards.kept)]
    if route is not None:
        columns.append(predictions.ROUTED)
    for variant in plan.variants:
        told = ("status", "labels", "probabilities", "finished_at")
        own = [f"{variant.name}.{name}" for name in told]
        constant = _constant(plan, run, variant)
        for batch in predictions.read(files, [*columns, *own]):
            meant = pc.equal(batch["outcome"], predictions.Outcome.SCORED)
            meant = pc.and_(meant, pc.invert(erased.matches(batch["opinion_id"])))
            if route is not None:
                meant = pc.and_(meant, pc.equal(batch[predictions.ROUTED], variant.name))
            scored = batch.filter(meant)
            answers = scope.answers(variant.name, scored[variant.name])
            yield from _rows(scored, variant.name, answers, constant, rows)


def _constant(plan: Plan, run: RunFolder, variant: Variant) -> dict[str, str | None]:
    adapter = variant.adapter
    return {
        "variant": variant.name,
        "model": f"{plan.config.model.source}@{plan.model_sha256[:12]}",
        "adapter": f"{adapter.folder.name}@{adapter.sha256[:12]}" if adapter else None,
        "run": run.path.name,
    }


def _rows(
    scored: pa.RecordBatch,
    variant: str,
    answers: Answers,
    constant: dict[str, str | None],
    rows: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """Yield a variant's usable answers of a batch."""
    made = {
        "labels": predictions.label_struct(
            answers.labels, answers.labels < 0, rows.field("labels").type
        ),
        "probabilities": predictions.label_struct(
            answers.probabilities,
            np.isnan(answers.probabilities),
            rows.field("probabilities").type,
        ),
        "labelled_at": pc.struct_field(scored[variant], "finished_at"),
        "month": pc.strftime(scored["date"], "%Y-%m"),
        **{
            name: pa.repeat(pa.scalar(value, pa.string()), len(scored))
            for name, value in constant.items()
        },
    }
    columns = [made[f.name] if f.name in made else scored[f.name] for f in rows]
    usable = pa.array(answers.answered)
    yield pa.RecordBatch.from_arrays(columns, schema=rows).filter(usable)
