"""`json`: a JSON object of 21 booleans, decoded under its schema."""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ConfigDict, StrictBool, ValidationError, create_model

from medsent.answers.written import STRUCTURE, UNKNOWN, Written
from medsent.labels import LABELS
from medsent.prompts import PromptText

_TRUE, _FALSE = "true", "false"

MAX_TOKENS: Final = 192
"""Twice what Gemma's tokenizer needs for a compact answer (95 with its end)."""

PROMPT = PromptText(
    instructions=(
        "You are given a patient's opinion of medical care and the reader who reads it. "
        "For each of the labels below decide whether that reader would give it to the opinion.\n"
        f"Labels: {', '.join(LABELS)}.\n"
        "Most labels name what the opinion is, shows or makes the reader feel. "
        '"more" means: I need more information to judge this text. '
        '"offensive" means: it offends me. "funny" means: it amuses me.\n'
        "Answer with one JSON object that has every label as a key, in this order, "
        "and true or false as its value.\n\nOpinion:\n"
    ),
    reader="\n\nReader: {reader}\n",
    cue="Answer:\n",
)

_FIELDS: dict[str, Any] = dict.fromkeys(LABELS, (StrictBool, ...))
Answer = create_model("Answer", __config__=ConfigDict(extra="forbid"), **_FIELDS)
"""The answer: one required boolean a label, and nothing else."""


def schema() -> dict[str, Any]:
    """Return the JSON schema of an answer."""
    found: dict[str, Any] = Answer.model_json_schema()
    return found


SCHEMA: Final = json.dumps(schema())
"""The same as text, for the engine's grammar."""


def parse(text: str) -> list[bool] | None:
    """Return the 21 booleans in the order of the labels, or None where `text` is no answer.

    White space between the tokens of the JSON is the only freedom.
    """
    try:
        values = json.loads(text, object_pairs_hook=_once_each)
        answer = Answer.model_validate(values)
    except (ValueError, RecursionError, ValidationError):
        return None
    return [getattr(answer, label) for label in LABELS]


def write(gold: Sequence[float], tokenizer: Any) -> Written:
    """Return the compact JSON answer for a row of gold (21 of 0, 1 or NaN), and its end.

    A missing label stands as false, since the object needs a value, and is not learnt.
    `tokenizer` must be a fast one: the values' tokens are found by their offsets.
    """
    text = "{"
    spans: list[tuple[int, int]] = []
    for label, value in zip(LABELS, gold, strict=True):
        text += f'{"," if spans else ""}"{label}":'
        start = len(text)
        text += _TRUE if value == 1 else _FALSE
        spans.append((start, len(text)))
    encoded = tokenizer(text + "}", add_special_tokens=False, return_offsets_mapping=True)
    ids, of_label = list(encoded["input_ids"]), []
    for start, end in encoded["offset_mapping"]:
        decides = [i for i, (low, high) in enumerate(spans) if start < high and end > low]
        of_label.append(_owner(decides, gold))
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        of_label.append(STRUCTURE)
    return Written(ids, of_label)


def _owner(decides: list[int], gold: Sequence[float]) -> int:
    if not decides:
        return STRUCTURE
    return UNKNOWN if math.isnan(gold[decides[0]]) else decides[0]


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values
