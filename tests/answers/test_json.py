"""A JSON answer: read strictly, written so that each value's token is known."""

import json as stdlib_json
from typing import Any

import numpy as np
import pytest
import xgrammar
from hypothesis import given
from hypothesis import strategies as st
from medsent.answers.written import STRUCTURE, UNKNOWN

from medsent.answers import json
from medsent.labels import LABELS

ROWS = st.lists(st.booleans(), min_size=len(LABELS), max_size=len(LABELS))
GOOD = stdlib_json.dumps(dict.fromkeys(LABELS, True))


@given(ROWS, st.sampled_from([None, 1]))
def test_what_is_dumped_is_parsed(row: list[bool], indent: int | None) -> None:
    text = stdlib_json.dumps(dict(zip(LABELS, row, strict=True)), indent=indent)
    assert json.parse(f" {text}\n") == row


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        GOOD[:-1],
        GOOD + "}",
        "The answer: " + GOOD,
        f"```json\n{GOOD}\n```",
        GOOD.replace('"funny": true', '"funny": 1'),
        GOOD.replace('"funny": true', '"funny": "true"'),
        GOOD.replace('"funny": true', '"funny": null'),
        GOOD.replace(', "funny": true', ""),
        GOOD.replace('"funny": true', '"funny": true, "happy": true'),
        GOOD.replace('"funny": true', '"funny": true, "funny": false'),
        "[" * 100_000,
    ],
)
def test_anything_else_is_no_answer(text: str) -> None:
    assert json.parse(text) is None


def test_schema_asks_for_21_booleans_in_order() -> None:
    schema = json.schema()
    assert list(schema["properties"]) == list(LABELS) == schema["required"]
    assert {field["type"] for field in schema["properties"].values()} == {"boolean"}
    assert schema["additionalProperties"] is False
    assert stdlib_json.loads(json.SCHEMA) == schema


def test_each_value_is_one_token_of_its_label(tokenizer: Any) -> None:
    gold = np.array([float(i % 2) for i in range(len(LABELS))])
    written = json.write(gold, tokenizer)
    values = {
        label: tokenizer.decode([token])
        for token, label in zip(written.ids, written.of_label, strict=True)
        if label >= 0
    }
    assert values == {i: "true" if i % 2 else "false" for i in range(len(LABELS))}
    assert sum(label >= 0 for label in written.of_label) == len(LABELS)
    assert written.ids[-1] == tokenizer.eos_token_id
    assert written.of_label[-1] == STRUCTURE
    assert json.parse(tokenizer.decode(written.ids[:-1])) == [i % 2 == 1 for i in range(21)]
    assert len(written.ids) <= json.MAX_TOKENS


def test_a_missing_label_is_marked(tokenizer: Any) -> None:
    gold = np.ones(len(LABELS))
    gold[3] = np.nan
    written = json.write(gold, tokenizer)
    assert written.of_label.count(UNKNOWN) == 1
    assert 3 not in written.of_label
    at = written.of_label.index(UNKNOWN)
    assert tokenizer.decode([written.ids[at]]) == "false"


def test_what_is_written_is_what_the_grammar_allows(tokenizer: Any) -> None:
    """Trained tokens that the engine's mask forbids would be lost at scoring."""
    grammar = xgrammar.Grammar.from_json_schema(
        json.SCHEMA, any_whitespace=False, separators=(",", ":")
    )
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    matcher = xgrammar.GrammarMatcher(xgrammar.GrammarCompiler(info).compile_grammar(grammar))
    written = json.write(np.tile([1.0, 0.0], 11)[: len(LABELS)], tokenizer)
    assert all(matcher.accept_token(token) for token in written.ids)
    assert matcher.is_terminated()
