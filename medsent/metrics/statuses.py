"""What the statuses of answers and the reasons of quarantined records mean, in words."""

from collections.abc import Mapping
from typing import Final

from medsent.predictions import AnswerStatus, Reason

_ANSWERS: Final[Mapping[str, str]] = {
    AnswerStatus.OK: "usable",
    AnswerStatus.TRUNCATED: "longer than an answer may be, and so cut off",
    AnswerStatus.INVALID_ANSWER: "not in the form that was asked for",
    AnswerStatus.ENGINE_ERROR: "the engine failed on the record",
    AnswerStatus.NO_JSON: "no JSON was found in the answer",
    AnswerStatus.LABEL_MISSING: "the answer says nothing of one of the labels",
    AnswerStatus.LABEL_UNKNOWN: "the answer names something that is no label",
    AnswerStatus.VALUE_UNKNOWN: "the answer gives a label a value that was not offered",
    AnswerStatus.NO_PREDICTION: "there is no answer",
}
_RECORDS: Final[Mapping[str, str]] = {
    Reason.BAD_TYPE: "with a value of the wrong type",
    Reason.EMPTY_TEXT: "without text",
    Reason.UNKNOWN_PERSONA: "of an unknown persona",
    Reason.BAD_LABELS: "with labels that cannot be read",
    Reason.TOO_LONG: "too long for the model",
    Reason.ENGINE_KILLER: "on which the engine died",
    Reason.BAD_SHARD: "in a file that cannot be read",
    Reason.ERASED: "erased",
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
