"""The three answer methods behind one face: what to ask, and how to read a completion."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

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

    def read(self, completion: Completion, thresholds: list[float]) -> Answer:
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
        *self._labels, self._none = onepass.label_token_ids(tokenizer)
        self.ask = Ask(max_tokens=1, token_ids=(*self._labels, self._none))

    def read(self, completion: Completion, thresholds: list[float]) -> Answer:
        if not completion.logprobs:
            return Answer(INVALID)
        first = completion.logprobs[0]
        try:
            logits = [first[token] - first[self._none] for token in self._labels]
        except KeyError:
            return Answer(INVALID)
        if not all(map(math.isfinite, logits)):
            return Answer(INVALID)
        return _decided([_sigmoid(logit) for logit in logits], thresholds, None)


class Bits:
    """21 digits under a grammar; a label's probability is that of "1" against "0"."""

    prompt = bits.PROMPT

    def __init__(self, tokenizer: Any) -> None:
        self._digits = bits.digit_token_ids(tokenizer)
        self.ask = Ask(
            max_tokens=len(LABELS) + 1, token_ids=self._digits, regex=bits.REGEX, text=True
        )

    def read(self, completion: Completion, thresholds: list[float]) -> Answer:
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

    def read(self, completion: Completion, thresholds: list[float]) -> Answer:
        labels = json.parse(completion.text)
        if labels is None:
            return _unusable(completion)
        return Answer(OK, labels, None, completion.text)


def _decided(probabilities: list[float], thresholds: list[float], text: str | None) -> Answer:
    # Decided on the stored float32, so that a report that relabels from it agrees to the bit.
    stored = [float(np.float32(p)) for p in probabilities]
    labels = [p >= cut for p, cut in zip(stored, thresholds, strict=True)]
    return Answer(OK, labels, stored, text)


def _unusable(completion: Completion) -> Answer:
    return Answer(TRUNCATED if completion.truncated else INVALID, text=completion.text)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
