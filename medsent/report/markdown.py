"""The report as Markdown (CommonMark with GitHub's tables), for a terminal or a pull request."""

import re
from collections.abc import Iterator
from typing import Final

from medsent.report.document import (
    Block,
    Cell,
    Claim,
    Claims,
    Column,
    Document,
    KeyFigure,
    Table,
    Text,
)

# What Markdown or HTML would read as markup anywhere in a line. An underscore between letters
# is none, and ids are full of those.
_MARKUP: Final = re.compile(r"[\\`*\[\]<>&|~$#]|(?<![^\W_])_|_(?![^\W_])")
# What would begin a list or draw a rule at the start of a line; a number's sign does not.
_LIST: Final = re.compile(r"^(\d*)([-+.)])(?=[\s-]|$)")
_RAISED: Final = str.maketrans("abcdefghijklmnop", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ")


def render_markdown(document: Document) -> str:
    """Return `report.md`; the same document gives the same bytes."""
    return "\n\n".join(_parts(document)) + "\n"


def _parts(document: Document) -> Iterator[str]:
    yield f"# {escape(document.title)}"
    if document.note:
        yield f"> **{escape(document.note)}**"
    first, *rest = document.verdict
    yield f"**{escape(first)}**"
    yield "\n".join(map(_key_figure, document.key_figures))
    yield f"{escape(document.basis)}:"
    yield "\n".join(f"- {escape(sentence)}" for sentence in rest)
    for section in document.sections:
        yield f"## {escape(section.title)}"
        for block in section.blocks:
            yield from _block(block, document.numbers)
    yield "## Definitions"
    for term in document.definitions:
        yield f"**{escape(term.name)}.** {escape(term.text)}"
    yield f"Run {escape(document.run)}. The exact numbers are in {document.numbers}."


def _key_figure(figure: KeyFigure) -> str:
    return f"- {escape(figure.name)}: **{escape(figure.value)}** ({escape(figure.detail)})"


def _block(block: Block, numbers: str) -> Iterator[str]:
    if isinstance(block, Text):
        yield escape(block.text)
    if isinstance(block, Claims):
        yield f"### {escape(block.title)}"
        yield "\n".join(_claim(claim, numbers) for claim in block.claims)
    if isinstance(block, Table):
        yield f"### {escape(block.caption)}"
        yield _table(block)
        letters = block.reasons
        if letters:
            yield "; ".join(
                f"{_raised(letter)} {escape(reason)}" for reason, letter in letters.items()
            )
        yield from (escape(note) for note in block.notes)


def _claim(claim: Claim, numbers: str) -> str:
    shown = [f"{escape(name)} {escape(value)}" for name, value in claim.numbers]
    if claim.left:
        shown.append(f"{claim.left} more in {numbers}")
    return f"- {escape(claim.text)}\n  - Rule {escape(claim.rule)}: {', '.join(shown)}"


def _table(table: Table) -> str:
    rows = [
        [_heading(column) for column in table.columns],
        ["---:" if column.kind == "number" else "---" for column in table.columns],
        *([_cell(cell, table.reasons) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _heading(column: Column) -> str:
    title = escape(column.title)
    return title if column.group is None else f"{escape(column.group)}: {title}"


def _cell(cell: Cell, letters: dict[str, str]) -> str:
    text = escape(cell.text)
    if cell.interval is not None:
        text += f" {escape(f'[{cell.interval}]')}"
    if cell.reason is not None:
        text += _raised(letters[cell.reason])
    return text if cell.tag is None else f"{text} ({escape(cell.tag)})"


def _raised(letter: str) -> str:
    return letter.translate(_RAISED)


def escape(text: str) -> str:
    """Return `text` so that it is shown as it is, and nothing in it is markup."""
    return _LIST.sub(r"\1\\\2", _MARKUP.sub(_harmless, text.strip()))


def _harmless(match: re.Match[str]) -> str:
    entities = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    return entities.get(match[0], f"\\{match[0]}")
