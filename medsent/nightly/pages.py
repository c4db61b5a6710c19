"""The page of a night, and the index of all nights."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from medsent.nightly import trends
from medsent.nightly.gate import ANCHORS, TITLES, Gate, RuleName, Ruling
from medsent.nightly.history import NIGHTS, Night
from medsent.report.document import (
    Block,
    Cell,
    Column,
    Document,
    KeyFigure,
    Section,
    Table,
    Term,
    Text,
    Tone,
    undefined,
)
from medsent.report.figures import (
    UNDEFINED,
    count,
    counted,
    percent,
    points,
    rate,
    share_interval,
    signed_interval,
)
from medsent.report.model import Metrics
from medsent.report.part import Estimate, Figure, over, value_of
from medsent.report.svg import own_settings

PAGE: Final = "night.html"
INDEX: Final = "index.html"

_AT_ONCE: Final = 14
"""So many nights stand in the index' first table."""

_STATUS: Final = {"holds": "holds", "closes": "closes", "not_judged": "not judged"}
_TONES: Final[dict[str, Tone]] = {"holds": "quiet", "closes": "worse", "not_judged": "quiet"}
_TERMS: Final[dict[RuleName, str]] = {
    "labels": "A label closes the gate where it is worse by more than the limit, beyond chance: "
    "the whole interval of its difference in F1 lies below the limit. The interval holds for all "
    "labels at once (Bonferroni), and is of a paired test on the records that both runs answered, "
    "with all records of an opinion together. A label that too few opinions have is not judged; "
    "one on which the two runs differ for fewer than 7 opinions holds.",
    "macro_f1": "Against another run: the whole interval of the paired difference, over the labels "
    "with enough opinions, lies below the limit. Against a floor: the figure itself does.",
    "generation_success": "The share of records with a usable answer, judged like macro F1.",
    "records_per_s": "The variant's rate on one replica is below its limit: a floor, or a share of "
    "the reference's.",
    "quarantine": "The share of the input's records that were quarantined is above its limit, or "
    "has risen by more than one, its interval included.",
    "label_rates": "The share of records that get a label differs from the reference's by more "
    "than the limit, either way: the whole interval, which holds for all labels at once, lies "
    "beyond it. A record needs no gold for that.",
    "input": "The population stability index of languages, personas or lengths of prompts: the sum "
    "of (p - q) ln(p / q) over their values. It closes above its limit, where chance alone would "
    "not reach it.",
}


def night_page(gate: Gate, metrics: Metrics, index: str) -> Document:
    """Return the page of one night; `index` leads to all of them."""
    return Document(
        title=f"{gate.name}, {gate.night}",
        run=gate.run,
        note=metrics.run.note,
        verdict=[_headline(gate.status, gate.closing), *gate.reasons(), *_basis(gate)],
        key_figures=list(_key_figures(gate, metrics)),
        sections=[
            Section("rules", "Rules", [_by_rule(gate)]),
            Section("rulings", "All rulings", list(_rulings(gate))),
            Section("more", "More", [_files(index)]),
        ],
        definitions=_terms(gate.rules),
        kind="night",
        numbers="gate.json",
        tone="worse" if gate.status == "closed" else None,
    )


@own_settings()
def index_page(name: str, note: str | None, nights: Sequence[Night]) -> Document:
    """Return the index of all nights, of at least one; the oldest stands first in `nights`."""
    drawn = nights[-trends.MOST_NIGHTS :]
    last = nights[-1]
    return Document(
        title=f"{name}: {counted(len(nights), 'night')}",
        run=last.run,
        note=note,
        verdict=[f"{last.night}: {_lower(_headline(last.status, _closing(last)))}", *_past(nights)],
        key_figures=[
            KeyFigure("Open", count(len(_of(nights, "open"))), "nights"),
            KeyFigure("Closed", count(len(_of(nights, "closed"))), "nights"),
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
        definitions=_terms([ruling for night in drawn for ruling in night.rules]),
        kind="nights",
        numbers=NIGHTS,
        tone="worse" if last.status == "closed" else None,
    )


def _headline(status: str, closing: Sequence[Ruling]) -> str:
    if status == "open":
        return "The gate is open."
    rules = dict.fromkeys(_lower(TITLES[ruling.rule]) for ruling in closing)
    return f"The gate is closed, by {' and by '.join(rules)}."


def _basis(gate: Gate) -> Iterator[str]:
    """Yield what the verdict rests on, and what could not be judged."""
    held = sum(ruling.status == "holds" for ruling in gate.rules)
    yield f"{counted(held, 'ruling')} hold{'s' if held == 1 else ''}."
    told: dict[str, list[Ruling]] = {}
    for ruling in gate.not_judged:
        key = "too few" if ruling.subject else ruling.message
        told.setdefault(key, []).append(ruling)
    for message, rulings in told.items():
        if message == "too few":
            names = dict.fromkeys(ruling.subject for ruling in rulings)
            message = f"too little to tell of {', '.join(name for name in names if name)}"
        rules = dict.fromkeys(ruling.rule for ruling in rulings)
        yield f"Not judged by {', '.join(_lower(TITLES[rule]) for rule in rules)}: {message}."


def _key_figures(gate: Gate, metrics: Metrics) -> Iterator[KeyFigure]:
    judged = dict.fromkeys(ruling.variant for ruling in gate.rules if ruling.variant)
    for name in judged:
        variant = metrics.variants[name]
        macro, success = variant.overall.macro_f1, variant.overall.generation_success_rate
        interval = share_interval(macro) if macro else None
        detail = f"{name}, {interval}" if interval else name
        yield KeyFigure("Macro F1", percent(value_of(macro)), detail)
        yield KeyFigure("Usable answers", percent(value_of(success)), name)
        if variant.throughput is not None:
            yield KeyFigure("Records/s", rate(variant.throughput.records_per_s), name)
    records = metrics.records
    share = percent(over(records.quarantined, records.input) or 0.0)
    yield KeyFigure("Quarantined", share, f"of {counted(records.input, 'record')}")


def _by_rule(gate: Gate) -> Table:
    groups: dict[tuple[RuleName, str | None, str | None], list[Ruling]] = {}
    for ruling in gate.rules:
        groups.setdefault((ruling.rule, ruling.variant, ruling.against), []).append(ruling)
    return Table(
        "What each rule says",
        [
            Column("Rule", "text"),
            Column("Of", "text"),
            Column("Against", "text"),
            Column("Verdict", "text"),
            Column("Close"),
            Column("Hold"),
            Column("Not judged"),
        ],
        [_rule_row(*key, rulings) for key, rulings in groups.items()],
    )


def _rule_row(
    rule: RuleName, variant: str | None, against: str | None, rulings: Sequence[Ruling]
) -> list[Cell]:
    numbers = {
        status: sum(ruling.status == status for ruling in rulings)
        for status in ("closes", "holds", "not_judged")
    }
    status = next(status for status, number in numbers.items() if number)
    return [
        Cell(TITLES[rule], define=rule),
        Cell(variant or "the input"),
        Cell(_anchor(against)),
        Cell(_STATUS[status], tone=_TONES[status]),
        *(Cell(count(number), number) for number in numbers.values()),
    ]


def _rulings(gate: Gate) -> Iterator[Block]:
    for status, caption in (
        ("closes", "What closes the gate"),
        ("not_judged", "What could not be judged"),
        ("holds", "What holds"),
    ):
        found = [ruling for ruling in gate.rules if ruling.status == status]
        if found:
            yield Table(
                f"{caption}: {count(len(found))}",
                [
                    Column("Rule", "text"),
                    Column("Of", "text"),
                    Column("Value"),
                    Column("Limit"),
                    Column("In words", "sentence"),
                ],
                [_ruling_row(ruling) for ruling in found],
                folded=status != "closes",
                sortable=True,
            )


def _ruling_row(ruling: Ruling) -> list[Cell]:
    whose = ", ".join(name for name in (ruling.subject, ruling.variant) if name)
    return [
        Cell(TITLES[ruling.rule], ruling.rule),
        Cell(whose or "input", whose),
        _value(ruling),
        Cell(_printed(ruling, ruling.limit), ruling.limit),
        Cell(ruling.message, ruling.message),
    ]


def _value(ruling: Ruling) -> Cell:
    if ruling.value is None:
        return Cell(UNDEFINED)
    figure = Estimate(value=ruling.value, low=ruling.low, high=ruling.high)
    interval = signed_interval(figure) if _is_difference(ruling) else share_interval(figure)
    tone = _TONES[ruling.status] if ruling.status == "closes" else None
    return Cell(_printed(ruling, ruling.value), ruling.value, interval=interval, tone=tone)


def _printed(ruling: Ruling, value: Figure) -> str:
    if value is None:
        return UNDEFINED
    if ruling.rule == "records_per_s":
        return rate(value)
    if ruling.rule == "input":
        return f"{value:.2f}"
    return points(value) if _is_difference(ruling) else percent(value)


def _is_difference(ruling: Ruling) -> bool:
    return ruling.against is not None and ruling.rule not in ("records_per_s", "input")


def _files(index: str) -> Table:
    files = {
        index: "all nights, with their trends",
        "report.html": "the night's whole report",
        "gate.json": "every ruling, exact",
    }
    return Table(
        "Files",
        [Column("File", "text"), Column("What it is", "sentence")],
        [[Cell(name.rpartition("/")[2], href=name), Cell(text)] for name, text in files.items()],
    )


def _past(nights: Sequence[Night]) -> Iterator[str]:
    first, last = nights[0].night, nights[-1].night
    yield f"{counted(len(nights), 'night')} from {first} to {last}."
    for night in reversed(_of(nights, "closed")[-5:]):
        rules = dict.fromkeys(_lower(TITLES[ruling.rule]) for ruling in _closing(night))
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
            Column("Closed by", "sentence"),
            *(Column(f"Macro F1, {name}") for name in variants),
            Column("Quarantined"),
        ],
        [_night_row(night, variants) for night in reversed(nights)],
        sortable=True,
    )


def _night_row(night: Night, variants: Sequence[str]) -> list[Cell]:
    closing: dict[str, dict[str, None]] = {}
    for ruling in _closing(night):
        closing.setdefault(TITLES[ruling.rule], {})[ruling.subject or ""] = None
    told = "; ".join(f"{title} {', '.join(names)}".strip() for title, names in closing.items())
    share = over(night.quarantined, night.records) or 0.0
    closed = night.status == "closed"
    return [
        Cell(str(night.night), str(night.night), href=f"../{night.run}/{PAGE}"),
        Cell(night.status, night.status, tone="worse" if closed else "quiet"),
        Cell(told, told),
        *(_macro(night, name) for name in variants),
        Cell(percent(share), share),
    ]


def _macro(night: Night, variant: str) -> Cell:
    figure = night.figure(variant, "macro_f1")
    if figure is None:
        return undefined("no label has gold and a usable answer")
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
        ("labels", "F1 of each label, less the reference's"),
        ("label_rates", "Share of records given each label, less the reference's"),
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


def _terms(rulings: Sequence[Ruling]) -> list[Term]:
    asked = {ruling.rule for ruling in rulings}
    return [Term(rule, TITLES[rule], text) for rule, text in _TERMS.items() if rule in asked]


def _anchor(against: str | None) -> str:
    return next((text for name, text in ANCHORS.items() if name == against), "its limit")


def _lower(text: str) -> str:
    return text if text[:2].isupper() or text.startswith("F1") else text[:1].lower() + text[1:]
