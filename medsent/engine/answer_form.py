"""The form of a written answer: a sheet with a value for each label, or a list of labels.

Both know the exact text of any answer and the pattern that holds them all. Nothing heavy is
imported here: engines use it too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")


@dataclass(frozen=True)
class Sheet:
    """An answer that has a value, yes or no, for each of L labels in their order."""

    before: tuple[str, ...]
    """(L,) the text before each label's value, after the value of the label before it."""
    after: str
    yes: str
    no: str

    @property
    def regex(self) -> str:
        """The pattern of all answers of this form."""
        value = f"({_escape(self.yes)}|{_escape(self.no)})"
        return "".join(_escape(text) + value for text in self.before) + _escape(self.after)

    @property
    def longest(self) -> int:
        """Bytes of the longest answer, each of which may be a token."""
        value = max(len(self.yes.encode()), len(self.no.encode()))
        return len("".join([*self.before, self.after]).encode()) + value * len(self.before)

    def write(self, given: Sequence[bool]) -> str:
        """Return the answer that gives these of the labels, (L,)."""
        return "".join(self.pieces(given))

    def pieces(self, given: Sequence[bool]) -> list[str]:
        """Return the answer's texts and values in turn: two for each label, and the last text."""
        parts: list[str] = []
        for text, value in zip(self.before, given, strict=True):
            parts += [text, self.yes if value else self.no]
        return [*parts, self.after]

    def starts(self, given: Sequence[bool]) -> list[int]:
        """Return where in the answer each label's value starts, in characters."""
        found, place = [], 0
        for text, value in zip(self.before, given, strict=True):
            found.append(place + len(text))
            place = found[-1] + len(self.yes if value else self.no)
        return found


@dataclass(frozen=True)
class Listing:
    """An answer that lists the labels given."""

    before: str
    between: str
    after: str
    empty: str
    """The answer that gives none."""
    names: tuple[str, ...]
    """(L,) the labels as they are written."""

    @property
    def regex(self) -> str:
        """The pattern of all answers of this form; a name may stand twice, which says no more."""
        name = f"({'|'.join(map(_escape, self.names))})"
        more = f"({_escape(self.between)}{name}){{0,{len(self.names) - 1}}}"
        full = f"{_escape(self.before)}{name}{more}{_escape(self.after)}"
        return f"({full}|{_escape(self.empty)})"

    @property
    def longest(self) -> int:
        """Bytes of the longest answer, each of which may be a token."""
        name = max(len(f"{self.between}{name}".encode()) for name in self.names)
        return len(f"{self.before}{self.after}".encode()) + name * len(self.names)

    def write(self, given: Sequence[bool]) -> str:
        """Return the answer that gives these of the labels, (L,), in their order."""
        names = [name for name, value in zip(self.names, given, strict=True) if value]
        if not names:
            return self.empty
        return f"{self.before}{self.between.join(names)}{self.after}"


Form = Sheet | Listing


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text).replace("\n", "\\n")
