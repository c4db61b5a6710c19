"""A block of records on its way through the engine: prompts out, answers in, one table back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from medsent import predictions
from medsent.answers.method import Answer
from medsent.config.job import RouteSettings
from medsent.engine.protocol import Completion
from medsent.input.reading import KEPT
from medsent.predictions import AnswerStatus, Outcome, Reason
from medsent.scoring.bound_variant import BoundVariant
from medsent.scoring.route import for_candidate


@dataclass(frozen=True)
class Reply:
    """What came back for one record and variant; no completion where the engine refused."""

    answer: Answer
    completion: Completion | None


class Block:
    """N records; indices are their places in the table."""

    def __init__(
        self,
        records: pa.Table,
        bound_variants: Sequence[BoundVariant],
        limit: int,
        route: RouteSettings | None = None,
    ) -> None:
        """Make the prompts; `limit` is the longest prompt and answer together, in tokens.

        A record is too long where it is for any of the variants, whatever its route.
        """
        self._records = records
        self._route = route
        self._tried = for_candidate(route, records["opinion_id"]).tolist() if route else []
        self._bound_variants = bound_variants
        rows = records.select(["text", "language", "persona", "reason"]).to_pylist()
        self._reasons: list[str | None] = [row["reason"] for row in rows]
        self._rows: list[int] = records["row_hash"].to_pylist()
        self._left_out: set[int] = set()
        self._replies: dict[str, list[Reply | None]] = {
            bound.name: [None] * len(rows) for bound in bound_variants
        }
        self._prompts = {bound.name: _prompts(rows, bound) for bound in bound_variants}
        self._quarantine_long(limit)
        # An opinion's readers one after the other, so that they share its prefix.
        self.order = sorted(
            (i for i, reason in enumerate(self._reasons) if reason is None),
            key=lambda i: (rows[i]["text"], rows[i]["persona"] or ""),
        )
        """The records to ask for, in the order to ask."""

    def __len__(self) -> int:
        return len(self._reasons)

    def prompt(self, index: int, bound: BoundVariant) -> list[int]:
        """Return the token ids that ask a variant about a record; empty for a bad one."""
        return self._prompts[bound.name][index] or []

    def put(self, index: int, bound: BoundVariant, reply: Reply) -> None:
        """Keep what came back."""
        self._replies[bound.name][index] = reply

    def quarantine(self, index: int) -> None:
        """Quarantine a record that kills engines."""
        self._reasons[index] = Reason.ENGINE_KILLER

    def leave(self, index: int) -> None:
        """Leave out a record that was not answered, and all others of its row.

        They stand together in a block's file: a later run scores all records of the row.
        """
        self._left_out.add(self._rows[index])

    def asked(self, bound: BoundVariant) -> list[int]:
        """Return the records that the next variant is still to be asked about."""
        left, rows = self._left_out, self._rows
        return [
            i
            for i in self.order
            if rows[i] not in left and self._reasons[i] is None and self._is_for(bound.name, i)
        ]

    def _is_for(self, variant: str, index: int) -> bool:
        """Tell whether a record's route leads to a variant, the fallback being the last one."""
        if self._route is None:
            return True
        if variant == self._route.candidate:
            return bool(self._tried[index])
        return not self._is_usable(self._route.candidate, index)

    def _is_usable(self, variant: str, index: int) -> bool:
        reply = self._replies[variant][index]
        return reply is not None and reply.answer.status == AnswerStatus.OK

    def table(self, schema: pa.Schema, replica: str) -> pa.Table:
        """Return all outcomes as `predictions.schema` has them, in the records' order."""
        made = self._made(schema, replica)
        columns = [
            made[field.name] if field.name in made else self._records[self._name(field.name)]
            for field in schema
        ]
        return pa.table(columns, schema=schema)

    def answered(self) -> pa.BooleanArray:
        """Return (N,) which records stay: those of which none of their row was left out."""
        return pa.array([row not in self._left_out for row in self._rows])

    def _name(self, column: str) -> str:
        return column if column in predictions.KEYS else f"{KEPT}{column}"

    def _quarantine_long(self, limit: int) -> None:
        for bound in self._bound_variants:
            room = limit - bound.answer_tokens
            for index, prompt in enumerate(self._prompts[bound.name]):
                if prompt is not None and len(prompt) > room:
                    self._reasons[index] = Reason.TOO_LONG

    def _made(self, schema: pa.Schema, replica: str) -> dict[str, pa.Array]:
        """Return the columns that scoring adds."""
        kept = [reason is None for reason in self._reasons]
        made: dict[str, pa.Array] = {
            "reason": pa.array(self._reasons, pa.string()),
            "outcome": pa.array([Outcome.SCORED if good else Outcome.QUARANTINED for good in kept]),
        }
        if self._route is not None:
            made[predictions.ROUTED] = pa.array(self._counted(self._route, kept), pa.string())
        for name, replies in self._replies.items():
            column = [r if good else None for r, good in zip(replies, kept, strict=True)]
            made[name] = _column(column, replica, schema.field(name).type)
        return made

    def _counted(self, route: RouteSettings, kept: Sequence[bool]) -> list[str | None]:
        """Return the variant whose answer counts for each record; None for a quarantined one."""
        return [
            (route.candidate if self._is_usable(route.candidate, i) else route.fallback)
            if good
            else None
            for i, good in enumerate(kept)
        ]


def _prompts(rows: Sequence[dict[str, Any]], bound: BoundVariant) -> list[list[int] | None]:
    """Return each good row's prompt."""
    good = [row for row in rows if row["reason"] is None]
    asked = [(row["text"], row["language"], row["persona"]) for row in good]
    made = iter(bound.prompter.prompts(asked))
    return [None if row["reason"] is not None else next(made) for row in rows]


def _column(replies: Sequence[Reply | None], replica: str, kind: pa.StructType) -> pa.StructArray:
    """Return replies as a variant's column of N structs, null where there is none."""
    answers = [reply.answer if reply else None for reply in replies]
    completions = [reply.completion if reply else None for reply in replies]
    made: dict[str, pa.Array] = {
        "status": pa.array([a.status if a else None for a in answers], pa.string()),
        "labels": _by_label([a.labels if a else None for a in answers], kind.field("labels").type),
        "probabilities": _by_label(
            [a.probabilities if a else None for a in answers], kind.field("probabilities").type
        ),
        "answer": pa.array([a.text if a else None for a in answers], pa.string()),
        "replica": pa.array([replica] * len(replies), pa.string()),
        "attempt": pa.array([c.attempt if c else 1 for c in completions], pa.int8()),
        "repaired": pa.array([a.repaired if a else None for a in answers], pa.bool_()),
    }
    arrays = [made[field.name] if field.name in made else _of(completions, field) for field in kind]
    missing = pa.array([reply is None for reply in replies])
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=missing)


def _of(completions: Sequence[Completion | None], field: pa.Field) -> pa.Array:
    """Return one number of each completion, by the field's name."""
    return pa.array([getattr(c, field.name) if c else None for c in completions], field.type)


def _by_label(rows: Sequence[list[Any] | None], kind: pa.StructType) -> pa.StructArray:
    """Return (N, L) values as a struct of labels, null where a row is."""
    matrix = np.array([row or [0] * kind.num_fields for row in rows])
    missing = np.array([[row is None] * kind.num_fields for row in rows])
    return predictions.label_struct(matrix, missing, kind)
