"""The index of all nights: which were closed, and how each figure went."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from medsent.commands.nightly import trends
from medsent.commands.nightly.gate import TITLES, RuleName, Ruling
from medsent.commands.nightly.history import NIGHTS, Night
from medsent.commands.nightly.page import PAGE, headline, lowered, terms
from medsent.metrics.estimate import Estimate, over
from medsent.metrics.format import UNDEFINED, count, counted, percent, share_interval
from medsent.report.document import (
    Block,
    Cell,
    Column,
    Document,
    KeyFigure,
    Section,
    Table,
    Text,
    undefined,
)
from medsent.report.layout import shown
from medsent.report.plots.svg import own_settings

INDEX: Final = "index.html"

_LESS: Final = "less the reference's (or, where none is pinned, the last good night's)"
_AT_ONCE: Final = 14
"""So many nights stand in the index' first table."""


@own_settings()
def index_page(name: str, note: str | None, nights: Sequence[Night]) -> Document:
    """Return the index of all nights, of at least one; the oldest stands first in `nights`."""
    nights = list(map(shown, nights))
    drawn = nights[-trends.MOST_NIGHTS :]
    last = nights[-1]
    return Document(
        title=f"{name}: {counted(len(nights), 'night')}",
        run=last.run,
        note=note,
        verdict=[f"{last.night}: {lowered(_headline(last))}", *_past(nights)],
        key_figures=[
            KeyFigure("Open", count(len(_of(nights, "open"))), "nights"),
            KeyFigure("Closed", count(len(_of(nights, "closed"))), "nights"),
            KeyFigure("Failed", count(len(_of(nights, "failed"))), "nights, without a verdict"),
            KeyFigure("Last good night", *_last_good(nights)),
        ],
        sections=[
            section
            for section in (
                Section("nights", "Nights", list(_nights(nights))),
                Section("trends", "Trends", list(_overall(drawn))),
                Section("labels", "Labels", list(_labels(drawn))),
            )
            if section.blocks
        ],
        definitions=terms([ruling for night in drawn for ruling in night.rules]),
        kind="nights",
        numbers=NIGHTS,
        basis="The nights so far",
        tone=None if last.status == "open" else "worse",
    )


def _headline(night: Night) -> str:
    return night.message or headline(night.status, night.rules)


def _past(nights: Sequence[Night]) -> Iterator[str]:
    first, last = nights[0].night, nights[-1].night
    yield f"{counted(len(nights), 'night')} from {first} to {last}."
    for night in reversed(_of(nights, "closed")[-5:]):
        rules = dict.fromkeys(lowered(TITLES[ruling.rule]) for ruling in _closing(night))
        yield f"Closed on {night.night} by {' and by '.join(rules)}."


def _nights(nights: Sequence[Night]) -> Iterator[Table]:
    """Yield the last nights, and those before them folded."""
    yield _table(f"The last {counted(len(nights[-_AT_ONCE:]), 'night')}", nights[-_AT_ONCE:])
    if earlier := nights[:-_AT_ONCE]:
        yield replace(_table(f"{counted(len(earlier), 'earlier night')}", earlier), folded=True)


def _table(caption: str, nights: Sequence[Night]) -> Table:
    variants = _variants(nights)
    return Table(
        caption,
        [
            Column("Night", "text"),
            Column("Gate", "text"),
            Column("Why", "sentence"),
            *(Column(f"Macro F1, {name}") for name in variants),
            Column("Records"),
            Column("Quarantined"),
        ],
        [_night_row(night, variants) for night in reversed(nights)],
        sortable=True,
    )


def _night_row(night: Night, variants: Sequence[str]) -> list[Cell]:
    told = night.message or "; ".join(_named(_closing(night)))
    share = over(night.quarantined, night.records) or 0.0
    page = f"../{night.run}/{PAGE}" if night.run else None
    return [
        Cell(str(night.night), str(night.night), href=page),
        Cell(night.status, night.status, tone="quiet" if night.status == "open" else "worse"),
        Cell(told, told),
        *(_macro(night, name) for name in variants),
        Cell(count(night.records), night.records),
        Cell(percent(share), share),
    ]


def _named(closing: Sequence[Ruling]) -> Iterator[str]:
    """Yield each rule that closed a night, with what it closed it for."""
    for rule in dict.fromkeys(ruling.rule for ruling in closing):
        subjects = dict.fromkeys(each.subject for each in closing if each.rule == rule)
        names = ", ".join(subject.replace("_", " ") for subject in subjects if subject)
        yield f"{TITLES[rule]}: {names}" if names else TITLES[rule]


def _macro(night: Night, variant: str) -> Cell:
    figure = night.figure(variant, "macro_f1")
    if figure is None:
        return undefined("no label has gold and a usable answer, or the night failed")
    estimate = Estimate(value=figure.value, low=figure.low, high=figure.high)
    return Cell(percent(figure.value), figure.value, interval=share_interval(estimate))


def _overall(nights: Sequence[Night]) -> Iterator[Block]:
    found = trends.overall_trends(nights, _variants(nights))
    if found:
        yield trends.draw_overall(found, nights, "trends-0")
    if len(nights) == trends.MOST_NIGHTS:
        yield Text(f"The last {trends.MOST_NIGHTS} nights are drawn; the table has all.")


def _labels(nights: Sequence[Night]) -> Iterator[Block]:
    rules: tuple[tuple[RuleName, str], ...] = (
        ("labels", f"F1 of each label, {_LESS}"),
        ("label_rates", f"Share of records given each label, {_LESS}"),
    )
    for variant in _variants(nights):
        for rule, about in rules:
            found = trends.label_trends(nights, variant, rule)
            if any(trend.points for trend in found):
                name = f"labels-{rule}-{variant}"
                yield trends.draw_labels(found, nights, name, f"{about}, {variant}")


def _variants(nights: Sequence[Night]) -> list[str]:
    """The variants that were judged."""
    judged = (ruling.variant for night in nights for ruling in night.rules)
    return list(dict.fromkeys(name for name in judged if name))


def _closing(night: Night) -> list[Ruling]:
    return [ruling for ruling in night.rules if ruling.status == "closes"]


def _of(nights: Sequence[Night], status: str) -> list[Night]:
    return [night for night in nights if night.status == status]


def _last_good(nights: Sequence[Night]) -> tuple[str, str]:
    good = _of(nights, "open")
    return (str(good[-1].night), good[-1].run) if good else (UNDEFINED, "none yet")
