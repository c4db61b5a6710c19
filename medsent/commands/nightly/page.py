"""The page of a night: which rule closed it, by which numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from medsent.commands.nightly.gate import ANCHORS, TITLES, Against, Gate, RuleName, Ruling
from medsent.commands.nightly.verdict import verdict_told
from medsent.metrics.estimate import Estimate, Figure, over, value_of
from medsent.metrics.format import (
    UNDEFINED,
    count,
    counted,
    percent,
    points,
    rate,
    share_interval,
    signed_interval,
)
from medsent.metrics.model import Metrics
from medsent.report.document import Cell, Column, Document, KeyFigure, Section, Table, Term, Tone
from medsent.report.tables.cost import money

PAGE: Final = "night.html"

_TERMS: Final[dict[RuleName, str]] = {
    "records": "The night has fewer records than this share of the reference's or, where none is "
    "pinned, of the last good night's: a test set that was cut short proves nothing.",
    "labels": "A label closes the gate where it is worse by more than the limit, beyond chance: "
    "the upper bound of its difference in F1 lies below the limit. The bound holds for all labels "
    "at once (Bonferroni, of one side), and is of a paired test on the records that both runs "
    "answered, with all records of an opinion together. A label that too few opinions have is not "
    "judged; one on which the two runs differ for fewer than 7 opinions holds.",
    "macro_f1": "Against another run: the upper bound of the paired difference, over the labels "
    "with enough opinions, lies below the limit; where it holds, its message tells which true drop "
    "would close 4 of 5 such nights. Against a floor: the figure itself lies below it, even "
    "if only by chance. An undefined figure closes the gate: nothing was shown.",
    "generation_success": "The share of records with a usable answer, judged like macro F1.",
    "records_per_s": "The variant's rate on one replica is below its limit: a floor, or a share of "
    "the reference's.",
    "quarantine": "The share of the input's records that were quarantined is above its limit, or "
    "is above the reference's by more than the limit for drift, and by more than chance.",
    "label_rates": "The share of records that get a label differs from the reference's by more "
    "than the limit, either way, and the interval of the difference, which holds for all labels at "
    "once, leaves out 0. A record needs no gold for that.",
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
        verdict=[headline(gate.status, gate.rules), *gate.reasons(), *_basis(gate)],
        key_figures=list(_key_figures(gate, metrics)),
        sections=[
            *([Section("closing", "What closed it", [_closing(gate)])] if gate.closing else []),
            Section("rules", "Rules", [_by_rule(gate), *_others(gate)]),
            Section("more", "More", [_files(index)]),
        ],
        definitions=terms(gate.rules),
        kind="night",
        numbers="gate.json",
        tone="worse" if gate.status == "closed" else None,
    )


def headline(status: str, rulings: Sequence[Ruling]) -> str:
    """Return a verdict in a sentence; whole rules that could not be judged are not passed over."""
    if status == "closed":
        closing = [lowered(TITLES[each.rule]) for each in rulings if each.status == "closes"]
        return f"The gate is closed, by {' and by '.join(dict.fromkeys(closing))}."
    told = {each.rule for each in rulings if each.status != "not_judged"}
    if any(
        each.status == "not_judged" and (each.subject is None or each.rule not in told)
        for each in rulings
    ):
        return "The gate is open, as far as the rules could judge."
    return "The gate is open."


def _basis(gate: Gate) -> Iterator[str]:
    """Yield what the verdict rests on, and what could not be judged."""
    verdict = verdict_told(gate)
    if verdict is not None:
        yield verdict
    held = sum(ruling.status == "holds" for ruling in gate.rules)
    yield f"{counted(held, 'ruling')} hold{'s' if held == 1 else ''}."
    open_: dict[str, list[Ruling]] = {}
    for ruling in gate.not_judged:
        key = "too few" if ruling.subject else ruling.message
        open_.setdefault(key, []).append(ruling)
    for message, rulings in open_.items():
        if message == "too few":
            names = dict.fromkeys(ruling.subject for ruling in rulings)
            message = f"too little to tell of {', '.join(name for name in names if name)}"
        rules = dict.fromkeys(ruling.rule for ruling in rulings)
        yield f"Not judged by {', '.join(lowered(TITLES[rule]) for rule in rules)}: {message}."


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
        if variant.cost is not None:
            spent = money(variant.cost.money_per_million_records.value, variant.cost.currency)
            yield KeyFigure("Cost of a million records", spent, name)
    records = metrics.records
    share = percent(over(records.quarantined, records.input) or 0.0)
    yield KeyFigure("Quarantined", share, f"of {counted(records.input, 'record')}")


def _by_rule(gate: Gate) -> Table:
    groups: dict[tuple[RuleName, str | None, Against | None], list[Ruling]] = {}
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
    rule: RuleName, variant: str | None, against: Against | None, rulings: Sequence[Ruling]
) -> list[Cell]:
    numbers = {
        status: sum(ruling.status == status for ruling in rulings)
        for status in ("closes", "holds", "not_judged")
    }
    status = next(status for status, number in numbers.items() if number)
    return [
        Cell(TITLES[rule], define=rule),
        Cell(variant or "the input"),
        Cell(ANCHORS[against] if against else "its limit"),
        Cell(status.replace("_", " "), tone="worse" if status == "closes" else "quiet"),
        *(Cell(count(number), number) for number in numbers.values()),
    ]


def _closing(gate: Gate) -> Table:
    return _rulings("Each figure beyond its limit", gate.closing)


def _others(gate: Gate) -> Iterator[Table]:
    holding = [ruling for ruling in gate.rules if ruling.status == "holds"]
    for caption, found in (("What could not be judged", gate.not_judged), ("What holds", holding)):
        if found:
            yield replace(_rulings(f"{caption}: {count(len(found))}", found), folded=True)


def _rulings(caption: str, found: Sequence[Ruling]) -> Table:
    columns = [
        Column("Rule", "text"),
        Column("Of", "text"),
        Column("Value"),
        Column("Limit"),
        Column("In words", "sentence"),
    ]
    return Table(caption, columns, [_ruling_row(ruling) for ruling in found], sortable=True)


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
    tone: Tone | None = "worse" if ruling.status == "closes" else None
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
    return ruling.against is not None and ruling.rule not in ("records", "records_per_s", "input")


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


def terms(rulings: Sequence[Ruling]) -> list[Term]:
    """Return how the rules decide that these are of."""
    asked = {ruling.rule for ruling in rulings}
    return [Term(rule, TITLES[rule], text) for rule, text in _TERMS.items() if rule in asked]


def lowered(text: str) -> str:
    """Return a title as it stands within a sentence."""
    return text if text[:2].isupper() or text.startswith("F1") else text[:1].lower() + text[1:]
