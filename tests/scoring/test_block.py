"""A block on its way: what is asked in which order, and what each record comes back with."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from medsent import predictions
from medsent.answers.method import Answer
from medsent.config.labels import LABELS
from medsent.engine.protocol import Completion
from medsent.input.records import fan_out
from medsent.scoring.block import Block, Reply
from medsent.scoring.bound_variant import BoundVariant, bind_variants
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder
from tests.input.record_rows import records

LIMIT = 1024
FINISHED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SCHEMA = predictions.schema(["plain", "digits"], LABELS)


@pytest.fixture
def bound_variants(job: JobBuilder, tokenizer: Any) -> tuple[BoundVariant, ...]:
    variants = {"plain": {"method": "onepass"}, "digits": {"method": "bits"}}
    return bind_variants(make_plan(job(variants=variants)), tokenizer)


def reply(number: int, attempt: int = 1) -> Reply:
    """Return an answer of its own for each number: label i is yes where bit i is set."""
    bits = [bool(number >> i & 1) for i in range(len(LABELS))]
    answer = Answer("ok", bits, [0.75 if bit else 0.25 for bit in bits], f"answer {number}")
    completion = Completion(
        text="",
        logprobs=[],
        truncated=False,
        prompt_tokens=100 + number,
        cached_tokens=number,
        output_tokens=1,
        latency_s=0.5,
        finished_at=FINISHED,
        attempt=attempt,
    )
    return Reply(answer, completion)


def filled(table: pa.Table, bound_variants: tuple[BoundVariant, ...]) -> Block:
    block = Block(table, bound_variants, LIMIT)
    for bound in bound_variants:
        for index in block.asked(bound):
            block.put(index, bound, reply(index + 1))
    return block


def test_outcomes_are_in_the_records_order(bound_variants: tuple[BoundVariant, ...]) -> None:
    table = records({"text": "b"}, {"reason": "empty_text", "text": ""}, {"text": "a"})
    block = filled(table, bound_variants)
    made = block.table(SCHEMA, "node-actor")
    assert made.schema == SCHEMA
    rows = made.to_pylist()
    assert [row["row_hash"] for row in rows] == [0, 1, 2]
    assert [row["outcome"] for row in rows] == ["scored", "quarantined", "scored"]
    for index in (0, 2):
        bits = {label: bool(index + 1 >> i & 1) for i, label in enumerate(LABELS)}
        for variant in ("plain", "digits"):
            assert rows[index][variant] == {
                "status": "ok",
                "labels": bits,
                "probabilities": {label: 0.75 if bit else 0.25 for label, bit in bits.items()},
                "answer": f"answer {index + 1}",
                "prompt_tokens": 101 + index,
                "cached_tokens": index + 1,
                "output_tokens": 1,
                "latency_s": 0.5,
                "finished_at": FINISHED,
                "replica": "node-actor",
                "attempt": 1,
                "repaired": None,
            }
    assert rows[1]["plain"] is None
    assert rows[1]["digits"] is None


def test_an_answer_that_is_not_there_is_null_and_no_zeros(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    block = Block(records({}), bound_variants, LIMIT)
    block.put(0, bound_variants[0], Reply(Answer("engine_error"), None))
    block.put(0, bound_variants[1], reply(3, attempt=2))
    [row] = block.table(SCHEMA, "r").to_pylist()
    assert row["outcome"] == "scored"
    assert row["plain"]["status"] == "engine_error"
    for name in ("labels", "probabilities", "answer", "prompt_tokens", "latency_s"):
        assert row["plain"][name] is None
    assert row["plain"]["attempt"] == 1
    assert row["digits"]["attempt"] == 2


def test_a_record_that_kills_engines_is_asked_no_more(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    block = Block(records({"text": "a"}, {"text": "b"}, {"text": "c"}), bound_variants, LIMIT)
    for index in (0, 1, 2):
        block.put(index, bound_variants[0], reply(index))
    block.quarantine(1)
    assert block.asked(bound_variants[1]) == [0, 2]
    rows = block.table(SCHEMA, "r").to_pylist()
    assert [row["reason"] for row in rows] == [None, "engine_killer", None]
    assert rows[1]["plain"] is None


def test_a_record_that_was_not_answered_is_left_for_another_time(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    table = records({"text": "a"}, {"reason": "empty_text", "text": ""}, {"text": "c"})
    block = filled(table, bound_variants)
    block.leave(0)
    rows = block.table(SCHEMA, "r").filter(block.answered()).to_pylist()
    assert [(row["row_hash"], row["outcome"]) for row in rows] == [
        (1, "quarantined"),
        (2, "scored"),
    ]


def test_a_block_of_which_nothing_was_answered_is_empty(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    block = Block(records({}, {}), bound_variants, LIMIT)
    for index in (0, 1):
        block.leave(index)
    made = block.table(SCHEMA, "r").filter(block.answered())
    assert (made.num_rows, made.schema) == (0, SCHEMA)


def test_a_row_of_which_one_record_was_not_answered_is_left_out_whole(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    """A later run scores all records of a row, or none."""
    table = fan_out(records({"text": "a"}, {"text": "b"}), ("chaplain", "surgeon"))
    block = filled(table, bound_variants)
    block.leave(1)
    assert [block.order.index(i) for i in block.asked(bound_variants[0])] == [2, 3]
    rows = block.table(SCHEMA, "r").filter(block.answered()).to_pylist()
    assert [(row["row_hash"], row["persona"]) for row in rows] == [(1, "chaplain"), (1, "surgeon")]


def test_an_opinion_s_readers_are_asked_one_after_the_other(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    readers = ("surgeon", "chaplain", "pharmacist")
    rows = [{"text": text, "persona": persona} for persona in readers for text in ("one", "two")]
    block = Block(records(*rows), bound_variants[:1], LIMIT)
    assert [rows[i]["text"] for i in block.order] == ["one"] * 3 + ["two"] * 3
    for index, row in enumerate(rows):
        whole = bound_variants[0].prompter.prompt(row["text"], "en", row["persona"])
        assert block.prompt(index, bound_variants[0]) == whole


def test_it_is_told_which_broken_answers_were_mended(
    bound_variants: tuple[BoundVariant, ...],
) -> None:
    block = Block(records({"text": "a"}, {"text": "b"}, {"text": "c"}), bound_variants, LIMIT)
    for index, repaired in enumerate((True, False, None)):
        whole = reply(index)
        answer = replace(whole.answer, probabilities=None, repaired=repaired)
        block.put(index, bound_variants[0], replace(whole, answer=answer))
    rows = [row["plain"] for row in block.table(SCHEMA, "r").to_pylist()]
    assert [row["repaired"] for row in rows] == [True, False, None]
    assert [row["probabilities"] for row in rows] == [None] * 3


@pytest.mark.parametrize("count", [1, 5, 60])
def test_labels_may_be_any(count: int, bound_variants: tuple[BoundVariant, ...]) -> None:
    names = [f"etykieta.{number} ż" for number in range(count)]
    made = predictions.schema(["plain", "digits"], names)
    block = Block(_of_labels(records({"text": "a"}, {"text": "b"}), names), bound_variants, LIMIT)
    given = [number % 3 == 0 for number in range(count)]
    whole = reply(1)
    answer = Answer("ok", given, [0.75 if value else 0.25 for value in given])
    block.put(0, bound_variants[0], replace(whole, answer=answer))
    first, second = block.table(made, "r").to_pylist()
    assert first["plain"]["labels"] == dict(zip(names, given, strict=True))
    assert first["plain"]["probabilities"] == {
        name: 0.75 if value else 0.25 for name, value in zip(names, given, strict=True)
    }
    assert second["plain"] is None
    assert first["gold"] is None


def _of_labels(table: pa.Table, names: list[str]) -> pa.Table:
    gold = pa.nulls(len(table), predictions.gold_type(names))
    return table.set_column(table.column_names.index("gold"), "gold", gold)
