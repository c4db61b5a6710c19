"""`onepass`: no decoding; a label's logit is its first token's logprob minus that of " none"."""

from typing import Any

from medsent.errors import ModelError
from medsent.labels import LABELS
from medsent.prompts import PromptText

REFERENCE = "none"

PROMPT = PromptText(
    instructions="Opinion of a patient:\n", reader="\nReader: {reader}\n", cue="Feels:"
)


def label_token_ids(tokenizer: Any) -> list[int]:
    """Return 22 ids: the first token of each " label", then of the reference " none".

    Raises `ModelError` where two labels begin with the same token.
    """
    ids = [
        int(tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0])
        for word in (*LABELS, REFERENCE)
    ]
    if len(set(ids)) != len(ids):
        raise ModelError(
            "method onepass cannot be used: two labels begin with the same token in this "
            "tokenizer; use method bits or json"
        )
    return ids
