"""What a report is made of, whether it is written as Markdown or as HTML.

Both are written from the same `Document`, so they cannot disagree. Every string here is
plain text that may come from a user's file: whoever writes it out escapes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from medsent.metrics.format import UNDEFINED

Tone: TypeAlias = Literal["better", "worse", "quiet"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """What is shown."""
    sort: float | str | None = None
    """What sorting compares; None comes last, whichever way."""
    interval: str | None = None
    """The interval of the figure."""
    reason: str | None = None
    """Why there is no figure or no interval; said below the table."""
    tone: Tone | None = None
    """Emphasis, beside what the text says, never instead of it."""
    tag: str | None = None
    """A mark after the text, such as `few positives`."""
    define: str | None = None
    """The definition that the text leads to."""
    href: str | None = None
    """The file beside this page that the text leads to."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    kind: Literal["text", "number", "code", "sentence"] = "number"
    group: str | None = None
    """A title over this column and its neighbours of the same group."""
    define: str | None = None
    """The definition that the title leads to."""


@dataclass(frozen=True)
class Table:
    """Rows under columns. The first cell of a row is its heading."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    """Sentences below the table."""
    folded: bool = False
    """Closed until opened, where the medium can do that."""
    sortable: bool = False
    group_definitions: Mapping[str, str] = field(default_factory=dict)
    """The definition that a group's title leads to."""

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons of cells that lack something, each with the letter that refers to it."""
        found = dict.fromkeys(cell.reason for row in self.rows for cell in row if cell.reason)
        return {reason: chr(ord("a") + index) for index, reason in enumerate(found)}

    @property
    def groups(self) -> list[tuple[str | None, list[int]]]:
        """The titles over the columns, each with the indices of the columns below it.

        None stands over each column that is in no group.
        """
        found: list[tuple[str | None, list[int]]] = []
        for index, column in enumerate(self.columns):
            if column.group is not None and found and found[-1][0] == column.group:
                found[-1][1].append(index)
            else:
                found.append((column.group, [index]))
        return found


@dataclass(frozen=True)
class Plot:
    """A drawing, for media that can show one; a table has its numbers as well."""

    svg: str
    """An `svg` element: trusted markup that needs no style of its own and fetches nothing."""
    caption: str
    define: str | None = None
    """The definition that the caption leads to."""
    title: str | None = None
    """What is drawn, said above it; the caption then says how to read it."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Claim:
    """What a rule says, with what it rests on."""

    text: str
    """Whole sentences."""
    rule: str
    """The rule's name; `rule-NAME` is its definition."""
    decides: str
    """How the rule decides."""
    numbers: Sequence[tuple[str, str]]
    """The numbers behind the sentences, as they are called in the file of exact numbers."""
    left: int = 0
    """So many numbers more are in that file."""


@dataclass(frozen=True)
class Claims:
    """Claims under a title. What they rest on is closed until opened, where the medium can."""

    title: str
    claims: Sequence[Claim]


Block: TypeAlias = Text | Table | Plot | Claims


@dataclass(frozen=True)
class Section:
    """A titled part of a report."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Term:
    """The definition of a figure."""

    id: str
    name: str
    text: str


@dataclass(frozen=True)
class KeyFigure:
    """One of the few numbers behind the verdict."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    run: str
    """Name and fingerprint, as the run folder is called."""
    note: str | None
    """A line that holds for every figure, such as that the data is synthetic."""
    verdict: Sequence[str]
    """Sentences: first the verdict, then what it rests on."""
    key_figures: Sequence[KeyFigure]
    sections: Sequence[Section]
    definitions: Sequence[Term]
    kind: str = "report"
    """What it is: a report, or another page."""
    numbers: str = "metrics.json"
    """The file beside it that has the exact numbers."""
    tone: Tone | None = None
    """Emphasis of the verdict."""
    plot: Plot | None = None
    """What the verdict looks like: it stands beside it."""
    basis: str = "Behind the verdict"
    """The title of the sentences after the first."""


def undefined(reason: str) -> Cell:
    """Return a cell for a figure that is undefined, with the reason."""
    return Cell(UNDEFINED, reason=f"undefined: {reason}")
