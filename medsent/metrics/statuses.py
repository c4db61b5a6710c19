"""What the statuses of answers and the reasons of quarantined records mean, in words."""

from collections.abc import Mapping
from typing import Final

_ANSWERS: Final[Mapping[str, str]] = {
    "ok": "usable",
    "truncated": "longer than an answer may be, and so cut off",
    "invalid_answer": "not in the form that was asked for",
    "engine_error": "the engine failed on the record",
    "no_json": "no JSON was found in the answer",
    "label_missing": "the answer says nothing of one of the labels",
    "label_unknown": "the answer names something that is no label",
    "value_unknown": "the answer gives a label a value that was not offered",
    "no_prediction": "there is no answer",
}
_RECORDS: Final[Mapping[str, str]] = {
    "bad_type": "with a value of the wrong type",
    "empty_text": "without text",
    "unknown_persona": "of an unknown persona",
    "bad_labels": "with labels that cannot be read",
    "too_long": "too long for the model",
    "engine_killer": "on which the engine died",
    "bad_shard": "in a file that cannot be read",
    "erased": "erased",
}


def answer(status: str) -> str:
    """Return what an answer's status means; nothing where it is not known."""
    return _ANSWERS.get(status, "")


def records(number: str, reason: str) -> str:
    """Write how many records were quarantined for a reason; an unknown reason is named."""
    return f"{number} {_RECORDS.get(reason, f'for the reason {spaced(reason)}')}"


def spaced(name: str) -> str:
    """Return the name of a file's key as words."""
    return name.replace("_", " ")
