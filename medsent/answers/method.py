"""The three answer methods behind one face: what to ask, and how to read a completion."""

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

from medsent.answers import bits, json, onepass
from medsent.config import MethodName
from medsent.engine.protocol import Ask, Completion
from medsent.labels import LABELS
from medsent.predictions import OK
from medsent.prompts import PromptText

INVALID, TRUNCATED, ENGINE_ERROR = "invalid_answer", "truncated", "engine_error"


@dataclass(frozen=True)
class Answer:
    """One reading of one record by one variant."""

    status: str
    """`ok`, or why there is no usable answer."""
    labels: list[bool] | None = None
    probabilities: list[float] | None = None
    text: str | None = None


class Method(Protocol):
    """An answer method, bound to a tokenizer."""

    prompt: PromptText
    ask: Ask

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        """Turn a completion into labels; never raises on a bad answer."""
        ...


def method_for(name: MethodName, tokenizer: Any) -> Method:
    """Return the method of that name for a tokenizer."""
    kinds: dict[MethodName, Any] = {"onepass": OnePass, "bits": Bits, "json": Json}
    method: Method = kinds[name](tokenizer)
    return method


class OnePass:
    """Logits of the 21 labels against " none", from the first token's distribution."""

    prompt = onepass.PROMPT

    def __init__(self, tokenizer: Any) -> None:
        self.ask = Ask(max_tokens=1, token_ids=tuple(onepass.label_token_ids(tokenizer)))
        self._asked = itemgetter(*self.ask.token_ids)

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        if not completion.logprobs:
            return Answer(INVALID)
        try:
            logprobs = np.array(self._asked(completion.logprobs[0]))
        except KeyError:
            return Answer(INVALID)
        if not np.isfinite(logprobs).all():
            return Answer(INVALID)
        return _decided(special.expit(logprobs[:-1] - logprobs[-1]), thresholds, None)


class Bits:
    """21 digits under a grammar; a label's probability is that of "1" against "0"."""

    prompt = bits.PROMPT

    def __init__(self, tokenizer: Any) -> None:
        self._digits = bits.digit_token_ids(tokenizer)
        self.ask = Ask(
            max_tokens=len(LABELS) + 1, token_ids=self._digits, regex=bits.REGEX, text=True
        )

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        labels = bits.parse(completion.text)
        if labels is None:
            return _unusable(completion)
        steps = [
            (step.get(self._digits[0], -math.inf), step.get(self._digits[1], -math.inf))
            for step in completion.logprobs[: len(LABELS)]
        ]
        probabilities = bits.probabilities(steps)
        if len(probabilities) != len(LABELS) or not all(map(math.isfinite, probabilities)):
            return _unusable(completion)
        return _decided(probabilities, thresholds, completion.text)


class Json:
    """A JSON object of 21 booleans under its schema; no probabilities."""

    prompt = json.PROMPT

    def __init__(self, tokenizer: Any) -> None:
        self.ask = Ask(max_tokens=json.MAX_TOKENS, json_schema=json.SCHEMA, text=True)

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        labels = json.parse(completion.text)
        if labels is None:
            return _unusable(completion)
        return Answer(OK, labels, None, completion.text)


def _decided(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike, text: str | None) -> Answer:
    # Decided on the stored float32, so that a report that relabels from it agrees to the bit.
    stored = np.asarray(probabilities, np.float32).astype(float)
    return Answer(OK, (stored >= thresholds).tolist(), stored.tolist(), text)


def _unusable(completion: Completion) -> Answer:
    return Answer(TRUNCATED if completion.truncated else INVALID, text=completion.text)
