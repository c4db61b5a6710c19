"""The JSON in a text that a model wrote freely: passages of it that are JSON, or nearly so."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import json_repair

_OPENING: Final = re.compile(r"[{\[]")
_BRACKET: Final = re.compile(r"[{}\[\]]")
_MEANT: Final = re.compile(
    r"""\{\s*(?:["'“”„‘`/]|[^\s"'{}\[\]:,][^"'{}\[\]:,\n]*:)|\[\s*["'“”„‘`{\[]"""
)
"""How broken JSON begins: with a quotation mark, a key, a comment or another bracket. Other
brackets are those of prose."""
_EMPTY: Final = re.compile(r"\{\s*\}|\[\s*\]")
_LONGEST: Final = 8_000
"""Characters of broken JSON that are mended: the library's time grows with their square."""
_MARK: Final = """["'“”„‘’`]"""
_FENCE: Final = "```"


class Repeated(dict[str, Any]):
    """An object in which a key stands twice, with the last value of each."""


@dataclass(frozen=True)
class Passage:
    """A stretch of a text from an opening bracket to its end."""

    text: str
    whole: Any = None
    """The object or list that it is; None where it is broken."""

    def mended(self) -> Any:
        """Return the object or list that the library `json_repair` makes of it; None for none."""
        if len(self.text) > _LONGEST:
            return None
        try:
            value = json_repair.loads(self.text, skip_json_loads=True)
        except Exception:  # noqa: BLE001  it stumbles over some texts, in ways of its own
            return None
        if not isinstance(value, dict if self.text.startswith("{") else list):
            return None
        if _has_empty(value) and not _EMPTY.search(self.text):
            return None  # of a bracket alone the library makes an empty object or list
        if isinstance(value, dict) and any(self._is_repeated(key) for key in value):
            return Repeated(value)
        return value

    def _is_repeated(self, key: str) -> bool:
        """Tell whether a key stands twice, of which the library keeps one."""
        begins = rf"(?:[{{,]\s*{_MARK}?|\s{_MARK})"
        return len(re.findall(rf"{begins}{re.escape(key)}{_MARK}?\s*:", self.text)) > 1


def passages(text: str) -> Iterator[Passage]:
    """Yield the whole and the broken JSON of a text, in its order.

    JSON within another passage is not yielded by itself. Brackets in prose are no passages, nor
    are lists of integers only: those are references to sources, such as [1, 2].
    """
    decoder, place = json.JSONDecoder(object_pairs_hook=marked), 0
    while found := _OPENING.search(text, place):
        start = found.start()
        try:
            value, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            if not _MEANT.match(text, start):
                place = start + 1
                continue
            place = _end(text, start)
            yield Passage(text[start:place])
        else:
            if not _names_sources(value):
                yield Passage(text[start:place], value)


def _end(text: str, start: int) -> int:
    """Return where the bracket at `start` is closed; else where its code block or the text ends."""
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "{[" else -1
        if not depth:
            return bracket.end()
    fence = text.find(_FENCE, start)
    return len(text) if fence < 0 else fence


def _has_empty(value: Any) -> bool:
    """Tell whether an object or list is empty, or one directly in it."""
    within = value.values() if isinstance(value, dict) else value
    return not value or any(isinstance(each, dict | list) and not each for each in within)


def _names_sources(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


def marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values, as a `Repeated` where a key stands twice."""
    values = dict(pairs)
    return values if len(values) == len(pairs) else Repeated(values)
