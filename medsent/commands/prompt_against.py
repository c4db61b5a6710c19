"""What a training pipeline rendered of records, as JSON lines, set against our prompts."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medsent.errors import UsageError
from medsent.input.lookup import Lookup, Row
from medsent.prompts.prompter import Prompter
from medsent.prompts.visible import alike, harmless, token_texts
from medsent.storage.paths import AnyPath

_TEXTS: Final = ("prompt", "text")
_IDS: Final = ("input_ids", "token_ids", "ids")
_KNOWN: Final = "a text, a list of token ids, or an object with prompt, text or input_ids"
_TOKENS_AROUND: Final = 8
_CHARACTERS_AROUND: Final = 40


@dataclass(frozen=True)
class Line:
    """One prompt that a pipeline rendered, and which record it is of."""

    number: int
    """In the file, from 1."""
    rendered: str | list[int]
    """Its text, or its token ids."""
    record_id: str | None = None
    reader: Mapping[str, str | None] | None = None
    """The persona, where the line names one or says that there is none."""
    brought: Row | None = None
    """The record itself, where the line brings it."""


@dataclass(frozen=True)
class Difference:
    """A line that is not what we ask."""

    line: Line
    record: Row
    place: int
    """How many tokens, or characters, are equal before it."""
    ours: str | list[int]
    theirs: str | list[int]


@dataclass(frozen=True)
class Compared:
    """What became of a file's lines."""

    equal: int
    longer: int
    """Of the equal ones, those that go on after the prompt."""
    rest: str | list[int] | None
    """What the first of these goes on with."""
    texts: int
    """Lines that were compared as text."""
    differences: list[Difference]
    unasked: Counter[str]
    """Lines of records that are quarantined, by the reason."""

    @property
    def lines(self) -> int:
        """How many lines were compared."""
        return self.equal + len(self.differences)


def read_lines(file: AnyPath) -> list[Line]:
    """Read a file of JSON lines; empty ones are passed over.

    Raises `UsageError` that names the file and the line that cannot be used.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text: {error.reason}") from error
    lines = []
    for number, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            lines.append(_line(number, json.loads(written)))
        except (ValueError, RecursionError) as error:
            told = (
                str(error) if isinstance(error, _BadLineError) else f"it is not JSON; give {_KNOWN}"
            )
            raise UsageError(f"{file}, line {number}: {told}") from error
    if not lines:
        raise UsageError(f"{file} has no line; a line is {_KNOWN}")
    return lines


def compare(file: AnyPath, lines: Sequence[Line], prompter: Prompter, lookup: Lookup) -> Compared:
    """Compare lines with the prompts of their records. Raises `UsageError`, as `read_lines`."""
    equal = longer = texts = 0
    rest: str | list[int] | None = None
    differences, unasked = [], Counter[str]()
    for line, record in _with_records(file, lines, lookup):
        if record["reason"]:
            unasked[record["reason"]] += 1
            continue
        texts += isinstance(line.rendered, str)
        ours, theirs = _pair(line, record, prompter)
        place = alike(ours, theirs)
        if place < len(ours):
            differences.append(Difference(line, record, place, ours, theirs))
        else:
            equal += 1
            if len(theirs) > len(ours):
                longer += 1
                rest = rest or theirs[len(ours) :]
    return Compared(equal, longer, rest, texts, differences, unasked)


def difference_lines(
    difference: Difference, file: AnyPath, prompter: Prompter, tokenizer: Any
) -> Iterator[str]:
    """Yield what a difference is, with a little of both sides."""
    unit = "character" if isinstance(difference.ours, str) else "token"
    line, record, place = difference.line, difference.record, difference.place
    yield (
        f"{file}, line {line.number} ({_named(record)}): differs at {unit} {place + 1}, after "
        f"{place} equal ones; the prompt has {len(difference.ours)} and the line "
        f"{len(difference.theirs)}"
    )
    for whose, side in (("asked", difference.ours), ("the line", difference.theirs)):
        yield f"  {whose:<9} {_around(side, place, prompter, tokenizer)}"
    if hint := _bos_hint(difference, tokenizer.bos_token_id):
        yield f"  {hint}"


class _BadLineError(ValueError):
    """A line that is JSON and still none of what is known."""


def _line(number: int, value: Any) -> Line:
    if isinstance(value, str | list):
        return Line(number, _rendered(value))
    if not isinstance(value, dict):
        raise _BadLineError(f"give {_KNOWN}")
    name = next((name for name in (*_IDS, *_TEXTS) if value.get(name) is not None), None)
    if name is None:
        raise _BadLineError(f"it has none of {', '.join((*_TEXTS, *_IDS))}")
    wanted = list if name in _IDS else str
    if not isinstance(value[name], wanted):
        raise _BadLineError(f"{name} is no {'list of token ids' if name in _IDS else 'text'}")
    rendered = _rendered(value[name])
    reader = {"persona": _text(value, "persona")} if "persona" in value else None
    if value.get("opinion") is not None:
        brought = {name: _text(value, name) for name in ("opinion", "language", "persona")}
        brought = {"text": brought.pop("opinion"), "record_id": None, "reason": None, **brought}
        return Line(number, rendered, brought=brought)
    record_id = value.get("record_id")
    if record_id is None and reader:
        raise _BadLineError("persona goes with record_id or opinion, which name the record")
    if record_id is not None and (
        not isinstance(record_id, str | int) or isinstance(record_id, bool)
    ):
        raise _BadLineError("record_id is neither text nor a whole number")
    return Line(number, rendered, None if record_id is None else str(record_id), reader)


def _rendered(value: str | list[Any]) -> str | list[int]:
    if isinstance(value, list) and not all(type(token) is int for token in value):
        raise _BadLineError("its token ids are not all whole numbers")
    return value


def _text(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    if not isinstance(found, str | None):
        raise _BadLineError(f"{name} is no text")
    return found


def _with_records(
    file: AnyPath, lines: Sequence[Line], lookup: Lookup
) -> Iterator[tuple[Line, Row]]:
    """Yield each line with its record.

    Where several lines name the same record_id and persona, the n-th of them gets the n-th such
    record. The n-th line that names none gets the n-th record of the input.
    """
    in_order = sum(line.record_id is None and line.brought is None for line in lines)
    unnamed = lookup.first(in_order) if in_order else []
    ids = {line.record_id for line in lines if line.record_id is not None}
    named = lookup.named(ids) if ids else {}
    taken: Counter[tuple[str | None, str]] = Counter()
    for line in lines:
        if line.brought is not None:
            if line.brought["persona"] not in (None, *lookup.personas):
                raise UsageError(f"{file}, line {line.number}: its persona is not in the job's")
            yield line, line.brought
            continue
        rows = unnamed if line.record_id is None else named.get(line.record_id, [])
        if line.reader is not None:
            rows = [row for row in rows if row["persona"] == line.reader["persona"]]
        key = (line.record_id, str(line.reader))
        if taken[key] >= len(rows):
            raise UsageError(f"{file}, line {line.number}: {_absent(line, len(rows))}")
        yield line, rows[taken[key]]
        taken[key] += 1


def _absent(line: Line, count: int) -> str:
    if line.record_id is None:
        return f"the input has only {count} records; name the record by record_id"
    of_persona = " of this persona" if line.reader else ""
    if count:
        return f"the input has only {count} records of this record_id{of_persona}"
    return f"no record of the input has this record_id{of_persona and f' and is{of_persona}'}"


def _pair(line: Line, record: Row, prompter: Prompter) -> tuple[str | list[int], str | list[int]]:
    """Return what is asked and what was rendered, both as text without BOS or as token ids."""
    asked = record["text"], record["language"], record["persona"]
    if isinstance(line.rendered, str):
        return prompter.without_bos(prompter.text(*asked)), prompter.without_bos(line.rendered)
    return prompter.prompt(*asked), line.rendered


def _around(side: str | list[int], place: int, prompter: Prompter, tokenizer: Any) -> str:
    """Return a little of a side before and after the place, which is marked."""
    size = _CHARACTERS_AROUND if isinstance(side, str) else _TOKENS_AROUND
    start, end = max(0, place - size), place + size
    if isinstance(side, str):
        before, after = harmless(side[start:place]), harmless(side[place:end])
    else:
        shown = token_texts(side[start:end], prompter.forbidden, tokenizer)
        before, after = (
            "|".join(part) for part in (shown[: place - start], shown[place - start :])
        )
    return f"{'...' * (start > 0)}{before} >> {after}{'...' if end < len(side) else ' (ends)'}"


def _named(record: Row) -> str:
    name = record["record_id"]
    told = "the record it brings" if name is None else f"record {harmless(name)}"
    return f"{told}, {harmless(record['persona'] or 'no persona')}"


def _bos_hint(difference: Difference, bos: int | None) -> str | None:
    """Tell of BOS tokens where only their number differs."""
    ours, theirs = difference.ours, difference.theirs
    if isinstance(ours, str) or isinstance(theirs, str) or bos is None:
        return None
    counts = [_leading(side, bos) for side in (ours, theirs)]
    ours, theirs = ours[counts[0] :], theirs[counts[1] :]
    if counts[0] == counts[1] or theirs[: len(ours)] != ours:
        return None
    return (
        f"Only BOS differs: the prompt begins with {counts[0]}, the line with {counts[1]}; the "
        f"prompt file sets it (bos: {counts[1]})"
    )


def _leading(ids: Sequence[int], token: int) -> int:
    return next((place for place, each in enumerate(ids) if each != token), len(ids))
