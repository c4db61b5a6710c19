"""The gate's rules: each looks at one kind of figure, and closes, holds or says why it cannot."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from medsent.commands.drift import Drift
from medsent.commands.nightly.gate import ANCHORS, Against, RuleName, Ruling, RulingStatus
from medsent.commands.nightly.settings import FigureSettings, GateSettings
from medsent.commands.nightly.verdict import by_policy, decision_on, opinions_needed
from medsent.metrics.estimate import Estimate, Estimated, Figure, over
from medsent.metrics.format import count, counted, percent, points, rate
from medsent.metrics.model import Comparison, Metrics
from medsent.metrics.statistics.changes import FEW_DISAGREEING
from medsent.report.tables.cells import NO_INTERVAL
from medsent.runs.folder import RunFolder

_DRIFTS: Final[dict[str, RuleName]] = {
    "label_rate": "label_rates",
    "population": "input",
    "quarantined": "quarantine",
}


@dataclass(frozen=True)
class Anchor:
    """A run that a night is compared with."""

    run: RunFolder
    metrics: Metrics
    comparisons: Mapping[str, Comparison]
    """Variant to its comparison with itself, on the records that both runs hold."""


@dataclass(frozen=True)
class Evidence:
    """What the rules are asked about."""

    metrics: Metrics
    variants: Sequence[str]
    """Those that are judged."""
    anchors: Mapping[Against, Anchor]
    absent: Mapping[Against, str]
    """Why an anchor is missing; no entry where its run is already the other anchor."""
    drifts: Sequence[Drift]
    basis: Against | None
    """The anchor by which input, drift and number of records are judged."""
    margins: Mapping[str, float] = field(default_factory=dict)
    """Label to margin, for labels that have to be shown to be lower by no more than that."""


def judge(evidence: Evidence, settings: GateSettings) -> list[Ruling]:
    """Return every ruling, in the rules' order."""
    rulings = [ruling for rule in _RULES for ruling in rule(evidence, settings)]
    return list(by_policy(rulings, settings.cannot_tell))


def _records(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    if gate.records is None:
        return
    if evidence.basis is None:
        yield from _absent(evidence, "records", None, "reference")
        return
    now, before = evidence.metrics.records.input, evidence.anchors[evidence.basis].metrics.records
    share, limit = now / before.input, gate.records.of_reference
    told = f"{counted(now, 'record')}, where {ANCHORS[evidence.basis]} had {count(before.input)}"
    yield Ruling(
        rule="records",
        status="closes" if share < limit else "holds",
        against=evidence.basis,
        value=share,
        limit=limit,
        message=f"{told} ({percent(share)}; the limit is {percent(limit)})",
    )


def _labels(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    if gate.labels is None:
        return
    for variant in evidence.variants:
        for against in ANCHORS:
            anchor = evidence.anchors.get(against)
            if anchor is None:
                yield from _absent(evidence, "labels", variant, against)
                continue
            pair = anchor.comparisons[variant]
            yield from _other_labels(pair, variant, against)
            for label in pair.labels:
                allowed = evidence.margins.get(label, gate.labels.worse_by)
                required = label in evidence.margins
                yield _compared("labels", variant, label, against, pair, allowed, required)


def _other_labels(pair: Comparison, variant: str, against: Against) -> Iterator[Ruling]:
    """Say which labels are not judged, by any rule, since only one of the two runs has them."""
    if not pair.labels_left_out:
        return
    whose = {pair.baseline: ANCHORS[against], pair.candidate: "this night"}
    alone = [
        f"{whose[name]} alone has {', '.join(own)}" for name, own in pair.labels_left_out.items()
    ]
    yield Ruling(
        rule="labels",
        status="not_judged",
        variant=variant,
        against=against,
        message=f"labels that only one of the two has: {'; '.join(alone)}",
    )


def _macro_f1(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    if gate.macro_f1 is not None:
        yield from _figure(evidence, "macro_f1", "macro_f1_supported", "macro_f1", gate.macro_f1)


def _generation_success(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    if gate.generation_success is not None:
        name = "generation_success_rate"
        yield from _figure(evidence, "generation_success", name, name, gate.generation_success)


def _figure(
    evidence: Evidence, rule: RuleName, compared: str, alone: str, settings: FigureSettings
) -> Iterator[Ruling]:
    """Judge an overall figure: the drop of the figure `compared`, the floor of the figure `alone`.

    An undefined figure closes the gate: a test set without gold or answers passes no test.
    """
    for variant in evidence.variants:
        figure: Estimated = getattr(evidence.metrics.variants[variant].overall, alone)
        if figure is None:
            yield _undefined(rule, variant)
            continue
        if settings.floor is not None:
            yield _floor(rule, variant, figure, settings.floor)
        if settings.drop is None:
            continue
        for against in ANCHORS:
            anchor = evidence.anchors.get(against)
            if anchor is None:
                yield from _absent(evidence, rule, variant, against)
                continue
            pair = anchor.comparisons[variant]
            yield _compared(rule, variant, compared, against, pair, settings.drop, required=True)


def _records_per_s(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    settings = gate.records_per_s
    if settings is None:
        return
    for variant in evidence.variants:
        value = _speed(evidence.metrics, variant)
        if settings.floor is not None:
            yield _slow(variant, value, settings.floor, None)
        if settings.of_reference is None:
            continue
        anchor = evidence.anchors.get("reference")
        if anchor is None:
            yield from _absent(evidence, "records_per_s", variant, "reference")
            continue
        before = _speed(anchor.metrics, variant)
        yield _slow(variant, value, before and before * settings.of_reference, before)


def _quarantine(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    if gate.quarantine is None:
        return
    records, limit = evidence.metrics.records, gate.quarantine.share
    share = over(records.quarantined, records.input) or 0.0
    most = next(iter(records.by_reason.items()), None)
    told = f", most as {most[0]} ({most[1]:,})" if most else ""
    yield Ruling(
        rule="quarantine",
        status="closes" if share > limit else "holds",
        subject="share",
        value=share,
        limit=limit,
        message=f"{percent(share)} of {records.input:,} records are quarantined{told}; "
        f"the limit is {percent(limit)}",
    )


def _drift(evidence: Evidence, gate: GateSettings) -> Iterator[Ruling]:
    if gate.drift is None:
        return
    if evidence.basis is None:
        rules: tuple[RuleName, ...] = ("label_rates", "input")
        for rule in rules:
            yield from _absent(evidence, rule, None, "reference")
    for drift in evidence.drifts:
        if drift.limit is None:
            continue
        untold = drift.low is None and drift.chance is None
        yield Ruling(
            rule=_DRIFTS[drift.kind],
            status="closes" if drift.alarm else "not_judged" if untold else "holds",
            variant=drift.variant,
            subject="rise" if drift.kind == "quarantined" else drift.name,
            against=evidence.basis,
            value=drift.value,
            low=drift.low,
            high=drift.high,
            limit=drift.limit,
            message=_against(f"{drift.message}; {drift.limit_message}", evidence.basis),
        )


_RULES: Final[Sequence[Callable[[Evidence, GateSettings], Iterator[Ruling]]]] = (
    _records,
    _labels,
    _macro_f1,
    _generation_success,
    _records_per_s,
    _quarantine,
    _drift,
)


def _compared(
    rule: RuleName,
    variant: str,
    figure: str,
    against: Against,
    pair: Comparison,
    allowed: float,
    required: bool,
) -> Ruling:
    """Close where a difference is below what is allowed, by its upper bound.

    The question has one direction, so the bound is one-sided. Where the rule holds, the message
    says which drop it could have detected: with few opinions, only a large one.
    """
    subject = figure if rule == "labels" else None
    change = pair.labels[figure] if subject else pair.overall[figure]
    whose = f"{subject}, {variant}" if subject else variant
    what = f"{whose}: {percent(change.baseline)} → {percent(change.candidate)}"
    value, low, high = _parts(change.one_sided or change.difference)
    seen = None if change.detectable_one_sided is None else -allowed - change.detectable_one_sided
    status: RulingStatus
    if low is None or high is None:
        none = (change.difference and change.difference.no_interval) or "undefined"
        status, told = "not_judged", NO_INTERVAL[none]
        if none == "too_few_disagreements":
            status, told = "holds", f"the two differ on fewer than {FEW_DISAGREEING} opinions"
        elif none == "no_variation":
            status = "closes" if value is not None and value < -allowed else "holds"
            told = f"{points(value)} points, all opinions alike; the limit is {points(-allowed)}"
    else:
        status = "closes" if high < -allowed else "holds"
        told = (
            f"{points(value)} points, {'corrected ' if subject else ''}bounds {points(low)} and "
            f"{points(high)}; the limit is {points(-allowed)}"
        )
        if status == "holds":
            told += (
                "; by these opinions it would hold whatever the true difference"
                if seen is None
                else f"; a true {points(seen)} would close 4 of 5 such nights"
            )
    decision = decision_on(change, allowed)
    return Ruling(
        rule=rule,
        status=status,
        variant=variant,
        subject=subject,
        against=against,
        value=value,
        low=low,
        high=high,
        limit=-allowed,
        visible=seen,
        message=_against(f"{what} ({told})", against),
        decision=decision,
        required=required,
        opinions_needed=opinions_needed(change, allowed, pair.opinions)
        if decision == "cannot_tell"
        else None,
    )


def _floor(rule: RuleName, variant: str, figure: Estimate, floor: float) -> Ruling:
    """Close where the figure itself is lower, and say where that may be by chance."""
    told = f"{variant}: {percent(figure.value)}; the floor is {percent(floor)}"
    if figure.low is not None and figure.high is not None:
        told += f", the interval {percent(figure.low)} to {percent(figure.high)}"
        if figure.low < floor <= figure.high:
            told += ", so that which side of the floor the true share is on is not known"
    return Ruling(
        rule=rule,
        status="closes" if figure.value < floor else "holds",
        variant=variant,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        limit=floor,
        message=told,
    )


def _undefined(rule: RuleName, variant: str) -> Ruling:
    return Ruling(
        rule=rule,
        status="closes",
        variant=variant,
        message=f"{variant}: undefined, since no record has what it is made of",
    )


def _slow(variant: str, value: Figure, limit: Figure, before: Figure) -> Ruling:
    if value is None or limit is None:
        return Ruling(
            rule="records_per_s",
            status="not_judged",
            variant=variant,
            message=f"{variant}: no answer was timed, in this run or in the reference",
        )
    told = f"the limit is {rate(limit)}" + (f", the reference had {rate(before)}" if before else "")
    return Ruling(
        rule="records_per_s",
        status="closes" if value < limit else "holds",
        variant=variant,
        against="reference" if before else None,
        value=value,
        limit=limit,
        message=f"{variant}: {rate(value)} records/s; {told}",
    )


def _absent(
    evidence: Evidence, rule: RuleName, variant: str | None, against: Against
) -> Iterator[Ruling]:
    """Say why a rule had nothing to compare with, unless that is compared with already."""
    if against in evidence.absent:
        yield Ruling(
            rule=rule,
            status="not_judged",
            variant=variant,
            against=against,
            message=evidence.absent[against],
        )


def _parts(figure: Estimated) -> tuple[Figure, Figure, Figure]:
    return (None, None, None) if figure is None else (figure.value, figure.low, figure.high)


def _speed(metrics: Metrics, variant: str) -> Figure:
    speed = metrics.variants[variant].throughput
    return None if speed is None else speed.records_per_s


def _against(told: str, against: Against | None) -> str:
    return f"{told}, against {ANCHORS[against]}" if against else told
