"""`bits`: a 0 or 1 for each label, in the order of the labels, decoded under a pattern."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy.typing as npt

from medsent.answers.file import AnswerFile
from medsent.answers.method import Answer, AnswerMethod, Write, decided, unusable
from medsent.answers.targets import STRUCTURE, UNKNOWN, Targets
from medsent.answers.values import Choices
from medsent.config.labels import Labels
from medsent.engine.answer_form import Sheet
from medsent.engine.protocol import Ask, Completion
from medsent.errors import ModelError
from medsent.prompts.file import shipped_prompt


class Bits:
    """L digits under a grammar; a label's probability is that of "1" against "0"."""

    def __init__(self, tokenizer: Any, labels: Labels, _: AnswerFile | None = None) -> None:
        form = sheet(labels.names)
        self._digits, self._size = digit_token_ids(tokenizer), len(labels)
        self._choices, self.room = Choices(tokenizer, form), self._size + 1
        self.ask = Ask(
            max_tokens=self.room,
            token_ids=self._digits,
            form=form,
            choices=self._choices.pairs,
            text=True,
        )

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        digits = completion.text.strip()
        if len(digits) != self._size or set(digits) - {"0", "1"}:
            return unusable(completion)
        given = [digit == "1" for digit in digits]
        probabilities = self._choices.probabilities(completion, given)
        if not all(map(math.isfinite, probabilities)):
            return unusable(completion)
        return decided(probabilities, thresholds, completion.text)


def sheet(labels: Sequence[str]) -> Sheet:
    """Return the form of the answers about L labels."""
    return Sheet(before=("",) * len(labels), after="", yes="1", no="0")


def digit_token_ids(tokenizer: Any) -> tuple[int, int]:
    """Return the ids of "0" and "1".

    Raises `ModelError` where the tokenizer does not give each digit a token of its own.
    """
    digits = "01" * 21
    ids = list(tokenizer(digits, add_special_tokens=False)["input_ids"])
    if len(ids) != len(digits) or len(set(ids)) != 2 or ids != ids[:2] * 21:
        raise ModelError(
            "method bits cannot be used: this model's tokenizer does not split digits into "
            "one token each; use method onepass or json"
        )
    return ids[0], ids[1]


def write(gold: Sequence[float], tokenizer: Any) -> Targets:
    """Return the digits for a row of gold (L of 0, 1 or NaN), and their end.

    A missing label stands as 0, since each digit has its place, and is not learnt.
    """
    digits = digit_token_ids(tokenizer)
    ids = [digits[int(value == 1)] for value in gold]
    of_label = [UNKNOWN if math.isnan(value) else index for index, value in enumerate(gold)]
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        of_label.append(STRUCTURE)
    return Targets(ids, of_label)


def _writer(tokenizer: Any, _labels: Labels, _answer: AnswerFile | None) -> Write:
    return partial(write, tokenizer=tokenizer)


METHOD = AnswerMethod(
    "bits",
    partial(shipped_prompt, "bits"),
    Bits,
    "{labels} digits under a grammar",
    training=_writer,
)
