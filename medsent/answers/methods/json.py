"""`json`: a JSON answer in the form of an answer file."""

import math
from functools import partial
from typing import Any, Final

import numpy.typing as npt

from medsent.answers.file import AnswerFile
from medsent.answers.json import JsonReader, write
from medsent.answers.method import Answer, AnswerMethod, Write, decided, unusable
from medsent.answers.values import Choices
from medsent.config.labels import Labels
from medsent.engine.answer_form import Form, Sheet
from medsent.engine.protocol import Ask, Completion
from medsent.predictions import AnswerStatus
from medsent.prompts.file import shipped_prompt

_TOKENS_STEP: Final = 64


class Json:
    """A JSON answer in the form of an answer file, under a grammar or written freely.

    From a guided object a label's probability is that of its value's token.
    """

    def __init__(self, tokenizer: Any, labels: Labels, answer: AnswerFile | None = None) -> None:
        assert answer is not None  # a plan has one for each variant of this method
        form = answer.form_of(labels.names)
        self._reader, self._guided = JsonReader(answer, labels.names), answer.guided
        self._choices: Choices | None = None
        if isinstance(form, Sheet) and answer.guided:
            self._choices = Choices(tokenizer, form)
        sampling = answer.sampling
        self.room = sampling.max_tokens or _room(tokenizer, form, len(labels))
        # A grammar fixes letters, not tokens: room for a token a byte, so that none is cut off.
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
            return unusable(completion)
        if self._choices is None:
            return Answer(AnswerStatus.OK, reading.given, None, completion.text)
        probabilities = self._choices.probabilities(completion, reading.given)
        if not all(map(math.isfinite, probabilities)):
            return unusable(completion)
        return decided(probabilities, thresholds, completion.text)

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


def _writer(tokenizer: Any, labels: Labels, answer: AnswerFile | None) -> Write:
    assert answer is not None  # a training task has one for this method
    return partial(write, form=answer.form_of(labels.names), tokenizer=tokenizer)


METHOD = AnswerMethod(
    "json",
    partial(shipped_prompt, "json"),
    Json,
    "JSON in the form of an answer file",
    training=_writer,
)
