"""Where in the tokens of a written sheet each label is decided, and what it might have been."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from scipy.special import expit

from medsent.engine.answer_form import Sheet
from medsent.engine.protocol import Completion
from medsent.errors import ModelError
from medsent.prompts.visible import alike


@dataclass(frozen=True)
class Choice:
    """The token that decides a label, one for each value."""

    yes: int
    no: int
    lead: int
    """How many characters before the value the token begins; negative if within the value."""
    turn: int
    """How many tokens before it begin at the same character: one may take several tokens."""

    def step(self, starts: list[int], value: int) -> int | None:
        """Return the step whose token begins where this one does; None where none does.

        `starts` says at which character each step begins, `value` at which the value does.
        """
        place = bisect_left(starts, value - self.lead) + self.turn
        found = starts[place : place + 1] == [value - self.lead]
        return place if found else None

    def share(self, logprobs: Mapping[int, float], chosen: int | None, given: bool) -> float:
        """Return the probability of yes against no at a step.

        A token that was `chosen` and is neither counts for the value that it led to.
        """
        no, yes = (logprobs.get(token, -math.inf) for token in (self.no, self.yes))
        if chosen not in (None, self.yes, self.no):
            led = logprobs.get(chosen, -math.inf)
            if given:
                yes = float(np.logaddexp(yes, led))
            else:
                no = float(np.logaddexp(no, led))
        return float(expit(yes - no))  # NaN where neither is possible


class Choices:
    """The deciding tokens of a sheet's L labels in a tokenizer."""

    def __init__(self, tokenizer: Any, sheet: Sheet) -> None:
        """Raises `ModelError` where the two values of a label cannot be told apart by a token."""
        self._sheet = sheet
        self._same = alike(sheet.yes, sheet.no)
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
        starts = [0, *ends[:-1]]
        ids = completion.token_ids
        found = []
        for choice, value, said in zip(self._each, self._sheet.starts(given), given, strict=True):
            step = choice.step(starts, value)
            if step is None or (ids and ids[step] not in (choice.yes, choice.no)):
                # The model chose other tokens than the tokenizer: take the one with the first
                # letter in which the two values differ.
                step = bisect_right(ends, value + self._same)
            if step >= len(completion.logprobs):
                found.append(math.nan)
                continue
            chosen = ids[step] if ids else None
            found.append(choice.share(completion.logprobs[step], chosen, said))
        return found


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
