"""`json`: reading a JSON answer, written under a grammar or as the model will."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from medsent.answers.file import AnswerFile
from medsent.answers.passages import Repeated, marked, passages
from medsent.answers.targets import STRUCTURE, UNKNOWN, Targets
from medsent.engine.answer_form import Form, Sheet
from medsent.predictions import AnswerStatus


@dataclass(frozen=True)
class Reading:
    """What a text says: labels, or why it says none."""

    given: list[bool] | None = None
    """(L,)"""
    fault: AnswerStatus | None = None
    repaired: bool = False
    """Whether the JSON was broken, and a library mended it."""


class JsonReader:
    """Reads answers of one answer file about some labels."""

    def __init__(self, answer: AnswerFile, labels: Sequence[str]) -> None:
        """Raises `ConfigError` where the file names other labels."""
        self._answer = answer
        self._places = {name: place for place, name in enumerate(answer.called(labels))}
        folded = [_folded(name) for name in self._places]
        self._names = (
            {} if len(set(folded)) < len(folded) else dict(zip(folded, self._places, strict=True))
        )
        """Names in small letters to those of the file; none where two would be alike."""

    def exact(self, text: str) -> Reading:
        """Read a guided answer: nothing but the JSON, every key once."""
        try:
            return self._judge(json.loads(text, object_pairs_hook=marked))
        except (ValueError, RecursionError):
            return Reading(fault=AnswerStatus.NO_JSON)

    def lenient(self, text: str, repair: bool = True) -> Reading:
        """Read what a model wrote freely: the first JSON in it that can be used as an answer.

        Code fences and words around it are passed over. With `repair`, broken JSON is read as the
        library `json_repair` mends it. If no JSON can be used, the fault is that of the first one
        in the form that was asked for, else of the very first. Later JSON does not count, since a
        model that does not stop goes on with opinions and answers that it makes up.
        """
        faults: list[tuple[bool, AnswerStatus | None]] = []
        empty: Reading | None = None
        for passage in passages(text):
            broken = passage.whole is None
            value = passage.mended() if broken and repair else passage.whole
            if value is None:
                continue
            reading = replace(self._judge(self._named_as_asked(value)), repaired=broken)
            if reading.given is not None and (value or _begins(text, passage.text)):
                return reading
            if reading.given is not None:
                empty = empty or reading  # brackets of prose, unless nothing better comes
                continue
            faults.append((self._is_of_form(value), reading.fault))
        if empty is not None:
            return empty
        return Reading(fault=max(faults, key=itemgetter(0))[1] if faults else AnswerStatus.NO_JSON)

    def _named_as_asked(self, value: Any) -> Any:
        """Return a value in which names are written as in the file, whatever their case."""
        under = self._answer.under
        if under is not None:
            if type(value) is dict and under in value:
                return {**value, under: self._renamed(value[under])}
            return value
        return self._renamed(value)

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._name(name) for name in value]
        if type(value) is not dict:
            return value
        renamed = {self._name(name): self._value(said) for name, said in value.items()}
        return renamed if len(renamed) == len(value) else value

    def _value(self, said: Any) -> Any:
        """Return a value that stands in quotation marks without them."""
        values = {json.dumps(value): value for value in (self._answer.yes, self._answer.no)}
        return values.get(_folded(said), said) if isinstance(said, str) else said

    def _name(self, name: Any) -> Any:
        return self._names.get(_folded(name), name) if isinstance(name, str) else name

    def _is_of_form(self, value: Any) -> bool:
        if self._answer.under is not None:
            return isinstance(value, dict) and self._answer.under in value
        return isinstance(value, list if self._answer.form == "list" else dict)

    def _judge(self, value: Any) -> Reading:
        under = self._answer.under
        if under is not None:
            if not isinstance(value, dict) or under not in value:
                return Reading(fault=AnswerStatus.LABEL_MISSING)
            if isinstance(value, Repeated):
                return Reading(fault=AnswerStatus.VALUE_UNKNOWN)
            value = value[under]
        if self._answer.form == "list":
            return self._named(value)
        return self._valued(value)

    def _named(self, value: Any) -> Reading:
        """Read a list of the labels given."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            return Reading(fault=AnswerStatus.VALUE_UNKNOWN)
        if not set(value) <= self._places.keys():
            return Reading(fault=AnswerStatus.LABEL_UNKNOWN)
        return Reading([name in value for name in self._places])

    def _valued(self, value: Any) -> Reading:
        """Read an object of values."""
        if not isinstance(value, dict) or isinstance(value, Repeated):
            return Reading(fault=AnswerStatus.VALUE_UNKNOWN)
        if not value.keys() <= self._places.keys():
            return Reading(fault=AnswerStatus.LABEL_UNKNOWN)
        if self._answer.omitted == "unusable" and len(value) < len(self._places):
            return Reading(fault=AnswerStatus.LABEL_MISSING)
        given = [False] * len(self._places)
        for name, said in value.items():
            meant = self._answer.meaning(said)
            if meant is None:
                return Reading(fault=AnswerStatus.VALUE_UNKNOWN)
            given[self._places[name]] = meant
        return Reading(given)


def _begins(text: str, passage: str) -> bool:
    """Tell whether a text, or its code block, begins with a passage."""
    return text.lstrip().removeprefix("```json").lstrip("`\n ").startswith(passage)


def _folded(name: str) -> str:
    return name.strip().casefold()


def write(gold: Sequence[float], form: Form, tokenizer: Any) -> Targets:
    """Return the answer for a row of gold (L of 0, 1 or NaN), and its end.

    In a sheet a missing label stands as no, since it needs a value, and is not learnt; in a
    list it is left out. `tokenizer` must be a fast one: tokens are found by their offsets.
    """
    given = [value == 1 for value in gold]
    text = form.write(given)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, of_label = list(encoded["input_ids"]), []
    spans = _spans(form, given)
    for start, end in encoded["offset_mapping"]:
        decides = [label for label, low, high in spans if start < high and end > low]
        of_label.append(_owner(decides, gold))
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        of_label.append(STRUCTURE)
    return Targets(ids, of_label)


def _spans(form: Form, given: Sequence[bool]) -> list[tuple[int, int, int]]:
    """Return label, start and end of each value in the answer, or of each name in a list."""
    if isinstance(form, Sheet):
        values = [form.yes if value else form.no for value in given]
        starts = form.starts(given)
        return [(i, start, start + len(values[i])) for i, start in enumerate(starts)]
    spans, place = [], len(form.before)
    for label in (i for i, value in enumerate(given) if value):
        end = place + len(form.names[label])
        spans.append((label, place, end))
        place = end + len(form.between)
    return spans


def _owner(decides: list[int], gold: Sequence[float]) -> int:
    if not decides:
        return STRUCTURE
    return UNKNOWN if math.isnan(gold[decides[0]]) else decides[0]
