"""`bits`: 21 characters of 0 and 1, in the order of the labels, decoded under a pattern."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from medsent.answers.written import STRUCTURE, UNKNOWN, Written
from medsent.errors import ModelError
from medsent.labels import LABELS
from medsent.prompts import PromptText

REGEX: Final = f"[01]{{{len(LABELS)}}}"

PROMPT = PromptText(
    instructions=(
        "You are given a patient's opinion of medical care and the reader who reads it. "
        "For each of the labels below decide whether that reader would give it to the opinion.\n"
        f"Labels: {', '.join(LABELS)}.\n"
        "Most labels name what the opinion is, shows or makes the reader feel. "
        '"more" means: I need more information to judge this text. '
        '"offensive" means: it offends me. "funny" means: it amuses me.\n'
        f"Answer with {len(LABELS)} digits, one for each label in this order: "
        "1 for yes, 0 for no.\n\nOpinion:\n"
    ),
    reader="\n\nReader: {reader}\n",
    cue="Answer:\n",
)


def digit_token_ids(tokenizer: Any) -> tuple[int, int]:
    """Return the ids of "0" and "1".

    Raises `ModelError` where the tokenizer does not give each digit a token of its own.
    """
    digits = "01" * len(LABELS)
    ids = list(tokenizer(digits, add_special_tokens=False)["input_ids"])
    if len(ids) != len(digits) or len(set(ids)) != 2 or ids != ids[:2] * len(LABELS):
        raise ModelError(
            "method bits cannot be used: this model's tokenizer does not split digits into "
            "one token each; use method onepass or json"
        )
    return ids[0], ids[1]


def parse(text: str) -> list[bool] | None:
    """Return the 21 booleans, or None where `text` is no answer; outer white space is allowed."""
    digits = text.strip()
    if not re.fullmatch(REGEX, digits):
        return None
    return [digit == "1" for digit in digits]


def probabilities(steps: Iterable[tuple[float, float]]) -> list[float]:
    """Return the probability of "1" for each step's natural logprobs of ("0", "1").

    Renormalised over the two digits; NaN where both are impossible.
    """
    return [_share(zero, one) for zero, one in steps]


def write(gold: Sequence[float], tokenizer: Any) -> Written:
    """Return the digits for a row of gold (21 of 0, 1 or NaN), and their end.

    A missing label stands as 0, since each digit has its place, and is not learnt.
    """
    digits = digit_token_ids(tokenizer)
    ids = [digits[int(value == 1)] for value in gold]
    of_label = [UNKNOWN if math.isnan(value) else index for index, value in enumerate(gold)]
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        of_label.append(STRUCTURE)
    return Written(ids, of_label)


def _share(zero: float, one: float) -> float:
    if zero == one:  # also both -inf, which says nothing
        return 0.5 if math.isfinite(one) else math.nan
    difference = zero - one
    # exp overflows beyond 709, where the share is zero to any precision.
    return 1 / (1 + math.exp(difference)) if difference < 700 else 0.0
