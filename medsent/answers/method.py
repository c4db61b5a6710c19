"""The answer methods behind one face: what to ask, and how to read a completion."""

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

from medsent.answers import bits, onepass
from medsent.answers.file import AnswerFile
from medsent.answers.json import JsonReader
from medsent.answers.values import Choices
from medsent.config.job import MethodName
from medsent.engine.form import Form, Sheet
from medsent.engine.protocol import Ask, Completion
from medsent.errors import ModelError
from medsent.labels import Labels
from medsent.predictions import AnswerStatus

_TOKENS_STEP: Final = 64
_MOST_IDS: Final = 128
"""vLLM's own limit on the tokens whose logprobs a request may ask for."""


@dataclass(frozen=True)
class Answer:
    """One reading of one record by one variant."""

    status: AnswerStatus
    labels: list[bool] | None = None
    probabilities: list[float] | None = None
    text: str | None = None
    repaired: bool | None = None
    """Whether broken JSON was mended to read it; None where that cannot be."""


class Method(Protocol):
    """An answer method, bound to a tokenizer and to labels."""

    ask: Ask
    room: int
    """Tokens that are left free for an answer beside its prompt."""

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        """Turn a completion into labels; never raises on a bad answer."""
        ...


def method_for(
    name: MethodName, tokenizer: Any, labels: Labels, answer: AnswerFile | None = None
) -> Method:
    """Return the method of that name; `answer` is that of `json`.

    Raises `ModelError` where the tokenizer does not allow the method for these labels.
    """
    if name == "json":
        assert answer is not None  # a plan has one for each variant of this method
        return Json(tokenizer, labels, answer)
    return OnePass(tokenizer, labels) if name == "onepass" else Bits(tokenizer, labels)


class OnePass:
    """Logits of the L labels against " none", from the first token's distribution."""

    def __init__(self, tokenizer: Any, labels: Labels) -> None:
        ids = onepass.label_token_ids(tokenizer, labels)
        if len(ids) > _MOST_IDS:
            raise ModelError(
                f"method onepass reads at most {_MOST_IDS - 1} labels, since the engine gives the "
                f"logprobs of {_MOST_IDS} tokens; use method bits or json"
            )
        self.ask, self.room = Ask(max_tokens=1, token_ids=tuple(ids)), 1
        self._asked = itemgetter(*self.ask.token_ids)

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        if not completion.logprobs:
            return Answer(AnswerStatus.INVALID_ANSWER)
        try:
            logprobs = np.array(self._asked(completion.logprobs[0]))
        except KeyError:
            return Answer(AnswerStatus.INVALID_ANSWER)
        if not np.isfinite(logprobs).all():
            return Answer(AnswerStatus.INVALID_ANSWER)
        return _decided(special.expit(logprobs[:-1] - logprobs[-1]), thresholds, None)


class Bits:
    """L digits under a grammar; a label's probability is that of "1" against "0"."""

    def __init__(self, tokenizer: Any, labels: Labels) -> None:
        form = bits.sheet(labels.names)
        self._digits, self._size = bits.digit_token_ids(tokenizer), len(labels)
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
            return _unusable(completion)
        given = [digit == "1" for digit in digits]
        probabilities = self._choices.probabilities(completion, given)
        if not all(map(math.isfinite, probabilities)):
            return _unusable(completion)
        return _decided(probabilities, thresholds, completion.text)


class Json:
    """A JSON answer in the form of an answer file, under a grammar or written freely.

    From a guided object a label's probability is that of its value's token.
    """

    def __init__(self, tokenizer: Any, labels: Labels, answer: AnswerFile) -> None:
        form = answer.form_of(labels.names)
        self._reader, self._guided = JsonReader(answer, labels.names), answer.guided
        self._choices: Choices | None = None
        if isinstance(form, Sheet) and answer.guided:
            self._choices = Choices(tokenizer, form)
        sampling = answer.sampling
        self.room = sampling.max_tokens or _room(tokenizer, form, len(labels))
        # A grammar says letters, not tokens: a model may write them one by one, and is not cut off.
        most = sampling.max_tokens or (form.longest + 1 if answer.guided else self.room)
        self.ask = Ask(
            max_tokens=most,
            token_ids=self._choices.token_ids if self._choices else (),
            form=form,
            guided=answer.guided,
            choices=self._choices.pairs if self._choices else (),
            text=True,
            temperature=sampling.temperature or 0.0,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            seed=(sampling.seed or 0) if sampling.temperature else None,
        )

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        if not self._guided:
            return self._read_freely(completion)
        reading = self._reader.exact(completion.text)
        if reading.given is None:
            return _unusable(completion)
        if self._choices is None:
            return Answer(AnswerStatus.OK, reading.given, None, completion.text)
        probabilities = self._choices.probabilities(completion, reading.given)
        if not all(map(math.isfinite, probabilities)):
            return _unusable(completion)
        return _decided(probabilities, thresholds, completion.text)

    def _read_freely(self, completion: Completion) -> Answer:
        text = completion.text
        # What was cut off is not mended: nobody knows what it would have said.
        reading = self._reader.lenient(text, repair=not completion.truncated)
        if reading.given is None:
            fault = AnswerStatus.TRUNCATED if completion.truncated else reading.fault
            return Answer(fault or AnswerStatus.INVALID_ANSWER, text=text, repaired=False)
        return Answer(AnswerStatus.OK, reading.given, None, text, reading.repaired)


def _room(tokenizer: Any, form: Form, labels: int) -> int:
    """Return twice the tokens of an answer that gives all labels or none, up to a round number."""
    longest = max(
        len(tokenizer(form.write([value] * labels), add_special_tokens=False)["input_ids"])
        for value in (True, False)
    )
    return -(-2 * (longest + 1) // _TOKENS_STEP) * _TOKENS_STEP


def _decided(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike, text: str | None) -> Answer:
    # Decided on the stored float32, so that a report that relabels from it agrees to the bit.
    stored = np.asarray(probabilities, np.float32).astype(float)
    return Answer(AnswerStatus.OK, (stored >= thresholds).tolist(), stored.tolist(), text)


def _unusable(completion: Completion) -> Answer:
    return Answer(
        AnswerStatus.TRUNCATED if completion.truncated else AnswerStatus.INVALID_ANSWER,
        text=completion.text,
    )
