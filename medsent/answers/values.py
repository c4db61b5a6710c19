"""Where in the tokens of a written sheet each label is decided, and what it might have been."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from medsent.answers.form import Sheet
from medsent.answers.json import share
from medsent.engine.protocol import Completion
from medsent.errors import ModelError


@dataclass(frozen=True)
class Choice:
    """The token that decides a label, one for each value."""

    yes: int
    no: int
    lead: int
    """How many characters before its value the token begins; negative for within the value."""
    turn: int
    """How many tokens before it are of the same character, which takes several then."""


class Choices:
    """The deciding tokens of a sheet's L labels in a tokenizer."""

    def __init__(self, tokenizer: Any, sheet: Sheet) -> None:
        """Raises `ModelError` where the two values of a label cannot be told apart by a token."""
        self._sheet = sheet
        self._each = [_choice(tokenizer, sheet, label) for label in range(len(sheet.before))]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """For each label the tokens that decide yes and no."""
        return tuple((each.yes, each.no) for each in self._each)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The ids whose logprobs are needed at each step, without repetition."""
        return tuple(dict.fromkeys(token for each in self._each for token in (each.yes, each.no)))

    def probabilities(self, completion: Completion, given: Sequence[bool]) -> list[float]:
        """Return each label's probability of yes, (L,), in an answer that gives `given`.

        It is that of the token for yes against the one for no, at the step where the label is
        decided; NaN where the answer has no such step.
        """
        ends = list(accumulate(map(len, completion.pieces)))
        found = []
        for choice, value in zip(self._each, self._sheet.starts(given), strict=True):
            step = _step(ends, choice, value)
            logprobs = completion.logprobs[step] if step < len(ends) else {}
            no, yes = (logprobs.get(token, -math.inf) for token in (choice.no, choice.yes))
            found.append(share(no, yes))
        return found


def _step(ends: list[int], choice: Choice, value: int) -> int:
    """Return the step that decides a label whose value starts at the character `value`.

    `ends` says where the text of each step ends; where there is no such step, their number.
    """
    starts, place = [0, *ends[:-1]], value - choice.lead
    first, behind = bisect_left(starts, place), bisect_right(starts, place)
    if first < behind:
        return min(first + choice.turn, behind - 1)
    # In other tokens than the tokenizer's own: the one with the first character of the deciding
    # token that is the value's.
    return bisect_right(ends, max(value, place))


def _choice(tokenizer: Any, sheet: Sheet, label: int) -> Choice:
    """Return where the answers that differ in one label alone differ first."""
    size = len(sheet.before)
    given = [False] * size
    start = sheet.starts(given)[label]
    no = tokenizer(sheet.write(given), add_special_tokens=False, return_offsets_mapping=True)
    given[label] = True
    yes = tokenizer(sheet.write(given), add_special_tokens=False)["input_ids"]
    begins = [begin for begin, _ in no["offset_mapping"]]
    for place, (one, other) in enumerate(zip(no["input_ids"], yes, strict=False)):
        if one != other:
            begin = begins[place]
            return Choice(other, one, start - begin, turn=begins[:place].count(begin))
    raise ModelError(  # not reached by two different texts, one no beginning of the other
        f"the values {sheet.yes} and {sheet.no} begin with the same tokens in this tokenizer"
    )
