"""Opinions quoted in a report, where somebody asks: those on which two variants differ most."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.config.job import JobConfig
from medsent.config.personas import load_personas
from medsent.errors import InputError
from medsent.input.records import RecordReader
from medsent.input.shard import ShardError
from medsent.input.shards import Shards, open_shards
from medsent.predictions import label_matrix
from medsent.reducer.state import Scope
from medsent.report.document import Cell, Column, Table
from medsent.runs.folder import RunFolder
from medsent.storage.paths import shown

_SEVERAL: Final = "(several records have this id and persona)"
_NOT_FOUND: Final = "(not found in the shard)"

_KEYS: Final = ("path", "record_id", "opinion_id", "persona")

Key = tuple[str, str, str, str | None]
"""Shard, record_id, opinion_id and persona."""


@dataclass(frozen=True)
class Example:
    """One record, with the labels that it has in gold and that each variant gave it."""

    key: Key
    language: str | None
    gold: list[str]
    given: dict[str, list[str]]
    score: int
    """Wrong labels of the baseline less those of the candidate; of one variant, its wrong ones."""


def examples(
    run: RunFolder,
    config: JobConfig,
    scope: Scope,
    compared: Sequence[tuple[str, str]],
    count: int,
) -> list[Table]:
    """Return tables that quote the opinions of up to `count` records each.

    With pairs in `compared`, these are the records on which the first pair's candidate gains most
    and loses most against its baseline; without, those that each variant is most wrong about.
    Texts come from the input's shards. Raises `InputError` where these are not there any more, or
    not as they were scored.
    """
    shards = open_shards(config.input, scope.labels)
    _refuse_others(shards, run)
    found = list(_chosen(run, scope, compared, count))
    texts = _texts(shards, config, {example.key for _, some in found for example in some})
    return [_table(title, some, texts) for title, some in found if some]


def _refuse_others(shards: Shards, run: RunFolder) -> None:
    """Refuse shards that were rewritten: their texts need not be what was scored."""
    scored = {shard.path: shard for shard in run.complete().input}
    for shard in shards.files:
        if scored.get(shard.path, shard) != shard:
            raise InputError(
                f"{shown(shard.path)}: rewritten since it was scored, so its opinions cannot be "
                "quoted; leave --examples out, or score it again"
            )


def _chosen(
    run: RunFolder, scope: Scope, compared: Sequence[tuple[str, str]], count: int
) -> Iterator[tuple[str, list[Example]]]:
    if compared:
        baseline, candidate = compared[0]
        scored = list(_scored(run, scope, (baseline, candidate), count))
        gained = sorted((e for e in scored if e.score > 0), key=lambda e: (-e.score, str(e.key)))
        lost = sorted((e for e in scored if e.score < 0), key=lambda e: (e.score, str(e.key)))
        yield f"Records for which {candidate} gains most over {baseline}", gained[:count]
        yield f"Records for which {candidate} loses most to {baseline}", lost[:count]
        return
    for variant in scope.variants:
        scored = list(_scored(run, scope, (variant,), count))
        wrong = sorted((e for e in scored if e.score > 0), key=lambda e: (-e.score, str(e.key)))
        yield f"Records that {variant} is most wrong about", wrong[:count]


def _scored(
    run: RunFolder, scope: Scope, variants: tuple[str, ...], count: int
) -> Iterator[Example]:
    """Yield, of each batch, the records that could be among the most and the least."""
    for batch in predictions.batches(run.predictions):
        rows = batch.filter(pc.equal(batch["outcome"], predictions.Outcome.SCORED))
        gold = label_matrix(rows["gold"], "")
        answers = {name: scope.answers(name, rows[name]) for name in variants}
        wrong = [_wrong(gold, answer.labels) for answer in answers.values()]
        score = wrong[0] - wrong[1] if len(wrong) > 1 else wrong[0]
        usable = np.logical_and.reduce([answer.answered for answer in answers.values()])
        score = np.where(usable, score, 0)
        for index in _ends(score, count):
            given = {name: answer.labels[index] for name, answer in answers.items()}
            yield Example(
                _key(rows, int(index)),
                rows["language"][index].as_py(),
                _names(gold[index], scope),
                {name: _names(labels, scope) for name, labels in given.items()},
                int(score[index]),
            )


def _wrong(gold: npt.NDArray[np.int8], given: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    known = (gold >= 0) & (given >= 0)
    return np.asarray((known & (gold != given)).sum(axis=1), dtype=np.int64)


def _ends(score: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return the records of the `count` highest scores above 0, and of the lowest below."""
    order = np.argsort(-score, kind="stable")
    high, low = order[:count], order[::-1][:count]
    return np.concatenate([high[score[high] > 0], low[score[low] < 0]])


def _key(rows: pa.RecordBatch, index: int) -> Key:
    path, record, opinion, persona = (rows[name][index].as_py() for name in _KEYS)
    return path, record, opinion, persona


def _names(labels: npt.NDArray[np.int8], scope: Scope) -> list[str]:
    return [scope.labels[i] for i in np.flatnonzero(labels == 1)]


def _texts(shards: Shards, config: JobConfig, wanted: set[Key]) -> dict[Key, str]:
    """Return the records' texts; a note in place of a text where several rows match a record."""
    reader = RecordReader(shards, load_personas(config.personas))
    found: dict[Key, list[str]] = {}
    for shard in shards.files:
        if not any(shown(shard.path) == path for path, *_ in wanted):
            continue
        with suppress(ShardError):  # what it holds is told as not found
            for records in reader.read(shard):
                columns = [records[name].to_pylist() for name in _KEYS]
                for key, text in zip(
                    zip(*columns, strict=True), records["text"].to_pylist(), strict=True
                ):
                    if key in wanted:
                        found.setdefault(key, []).append(text)
    return {key: texts[0] if len(texts) == 1 else _SEVERAL for key, texts in found.items()}


def _table(title: str, some: list[Example], texts: dict[Key, str]) -> Table:
    columns = [
        Column("Record", "text"),
        Column("Persona", "text"),
        Column("Labels in gold", "text"),
        *(Column(f"Given by {name}", "text") for name in some[0].given),
        Column("Opinion", "text"),
    ]
    rows = [
        [
            Cell(example.key[1]),
            Cell(example.key[3] or "none"),
            Cell(", ".join(example.gold) or "none"),
            *(Cell(", ".join(labels) or "none") for labels in example.given.values()),
            Cell(texts.get(example.key, _NOT_FOUND)),
        ]
        for example in some
    ]
    note = "Opinions are medical data: keep this report as safe as the opinions themselves."
    return Table(title, columns, rows, [note])
