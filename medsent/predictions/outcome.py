"""What became of a record: scored, or quarantined for a reason; and what of each answer."""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a record."""

    SCORED = "scored"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """Why a record was quarantined; a newer version may know others."""

    BAD_TYPE = "bad_type"
    EMPTY_TEXT = "empty_text"
    UNKNOWN_PERSONA = "unknown_persona"
    BAD_LABELS = "bad_labels"
    TOO_LONG = "too_long"
    ENGINE_KILLER = "engine_killer"
    ERASED = "erased"
    """`medsent erase` took its opinion out of the run; nothing else of it is kept."""
    BAD_SHARD = "bad_shard"
    """Its shard cannot be read and is quarantined, so that the predictions have no row for it."""


class AnswerStatus(StrEnum):
    """Whether an answer can be used, or why not; a newer version may know others."""

    OK = "ok"
    TRUNCATED = "truncated"
    INVALID_ANSWER = "invalid_answer"
    """It is not in the form that was asked for."""
    ENGINE_ERROR = "engine_error"
    NO_JSON = "no_json"
    """No object or list is in the text."""
    LABEL_MISSING = "label_missing"
    """The object has no value for a label, or the key that the answer stands under is absent."""
    LABEL_UNKNOWN = "label_unknown"
    """It names something that is no label."""
    VALUE_UNKNOWN = "value_unknown"
    """A label's value is neither yes nor no, or stands twice; or what is found has another form."""
    NO_PREDICTION = "no_prediction"
    """Only in figures, never in predictions: a scored record has no answer of the variant."""
