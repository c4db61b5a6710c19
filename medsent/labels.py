"""The 21 emotion labels, in the one order used everywhere.

The names are the data set's own, spelling included (``embarassing``). Two are
first-person: ``offensive`` ("offends me") and ``funny`` ("amuses me"); ``more``
means "I need more information to judge this text".
"""

from typing import Final

LABELS: Final[tuple[str, ...]] = (
    "positive",
    "negative",
    "happiness",
    "delight",
    "inspiring",
    "calm",
    "surprise",
    "compassion",
    "fear",
    "sadness",
    "disgust",
    "anger",
    "ironic",
    "embarassing",
    "vulgar",
    "political",
    "interesting",
    "understandable",
    "more",
    "offensive",
    "funny",
)

LABEL_INDEX: Final[dict[str, int]] = {label: index for index, label in enumerate(LABELS)}
