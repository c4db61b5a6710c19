"""What is learnt of an answer: its tokens, and which label each decides."""

from dataclasses import dataclass
from typing import Final

STRUCTURE: Final = -1
"""A token of the answer's form (braces, names, the end): always learnt."""
UNKNOWN: Final = -2
"""A token that decides a label whose gold is missing: never learnt."""


@dataclass(frozen=True)
class Targets:
    """T token ids and, for each, the index of the label it decides, `STRUCTURE` or `UNKNOWN`."""

    ids: list[int]
    of_label: list[int]
