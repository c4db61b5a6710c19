"""Rules on what needs a look: unusable answers, weak labels, slices that lag, lost input."""

from collections.abc import Iterator
from functools import partial
from typing import Final, Literal

from medsent.metrics import statuses
from medsent.metrics.estimate import Estimated
from medsent.metrics.findings.bounds import BELIEVABLE, CALIBRATED, HALF, QUARANTINED, USABLE
from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.wording import changed, estimated, gap, listed, part, share, support
from medsent.metrics.format import count, counted, percent
from medsent.metrics.headline import headline
from medsent.metrics.model import Comparison, LabelMetrics, Metrics, SliceMetrics, VariantMetrics
from medsent.metrics.significance import below, direction
from medsent.predictions import AnswerStatus

_Rate = Literal["recall", "precision"]
_WEAK: Final[dict[_Rate, str]] = {
    "recall": "misses more records with the label than it finds",
    "precision": "is wrong more often than right where it gives the label",
}
_SHARE: Final[dict[_Rate, str]] = {
    "recall": "It finds (recall)",
    "precision": "It is right (precision)",
}
_AGAINST: Final = {"higher": "lower", "lower": "higher"}


def judged(metrics: Metrics) -> dict[str, VariantMetrics]:
    """Return the variants that are candidates, or all where nothing is compared."""
    candidates = dict.fromkeys(pair.candidate for pair in metrics.comparisons)
    return {name: metrics.variants[name] for name in candidates or metrics.variants}


def answers_unusable(metrics: Metrics) -> Iterator[Said]:
    """Say which variants gave too few usable answers, and why answers could not be used."""
    for name, variant in metrics.variants.items():
        rate = variant.overall.generation_success_rate
        if rate is None or rate.value >= USABLE:
            continue
        mix = {
            status: number
            for status, number in variant.answer_statuses.items()
            if status != AnswerStatus.OK and number
        }
        if rate.high is None:
            beyond = "How much of what is missing from 99% is chance is not known"
        elif rate.high < USABLE:
            beyond = "That is below 99% by more than chance would give"
        else:
            beyond = "99% is within what chance would give"
        why = [
            f"{statuses.answer(status) or statuses.spaced(status)} ({count(number)})"
            for status, number in mix.items()
        ]
        yield Said(
            f"{percent(rate.value)} of the answers of {name} could be used: "
            f"{count(variant.overall.answered_rows)} of {counted(variant.overall.rows, 'record')} "
            f"({_interval(rate)}). {beyond}. The others: {'; '.join(why)}.",
            {
                **estimated("generation_success_rate", rate),
                "answered": variant.overall.answered_rows,
                "records": variant.overall.rows,
                **{f"status_{status}": number for status, number in mix.items()},
            },
            [name],
        )


def _interval(figure: Estimated) -> str:
    return share(figure).partition("(")[2].removesuffix(")")


def weak(metrics: Metrics, rate: _Rate) -> Iterator[Said]:
    """Say for which labels recall, or precision, is below one half."""
    for name, variant in judged(metrics).items():
        among = sum(_rate(label, rate) is not None for label in variant.labels.values())
        found = {
            label: each
            for label, each in variant.labels.items()
            if below(_rate(each, rate), HALF, among)
        }
        if not found:
            continue
        named = [
            f"{label} {share(_rate(each, rate))} of {_of(each, rate)}"
            for label, each in found.items()
        ]
        yield Said(
            f"{name} {_WEAK[rate]} for {counted(len(found), 'label')}. {_SHARE[rate]}: "
            f"{'; '.join(named)}.",
            {
                "labels": len(found),
                "bound": HALF,
                **{
                    key: value
                    for label, each in found.items()
                    for key, value in estimated(f"{rate}_{label}", _rate(each, rate)).items()
                },
            },
            [name],
            list(found),
        )


low_recall = partial(weak, rate="recall")
low_precision = partial(weak, rate="precision")


def _rate(label: LabelMetrics, rate: _Rate) -> Estimated:
    return label.recall if rate == "recall" else label.precision


def _of(label: LabelMetrics, rate: _Rate) -> str:
    """Write what the rate is a share of."""
    if rate == "recall":
        return support(label)
    return f"{counted(label.tp + label.fp, 'record')} given it"


def miscalibrated(metrics: Metrics) -> Iterator[Said]:
    """Say for which labels the probabilities are far from the rates that were observed."""
    for name, variant in judged(metrics).items():
        labels = variant.calibration.labels if variant.calibration is not None else {}
        found = {
            label: each.ece
            for label, each in labels.items()
            if each.ece is not None and each.ece > BELIEVABLE and each.records >= CALIBRATED
        }
        if not found:
            continue
        records = min(labels[label].records for label in found)
        named = [f"{label} by {100 * ece:.1f}" for label, ece in found.items()]
        yield Said(
            f"The probabilities of {name} cannot be read as rates for "
            f"{counted(len(found), 'label')}: on average they are off by more than "
            f"{100 * BELIEVABLE:.0f} points, {listed(named)}, on at least "
            f"{counted(records, 'record')} each. These errors have no interval.",
            {
                "labels": len(found),
                "records": records,
                "bound": BELIEVABLE,
                **{f"ece_{label}": ece for label, ece in found.items()},
            },
            [name],
            list(found),
        )


def slice_against(metrics: Metrics) -> Iterator[Said]:
    """Say which slices changed the other way than the whole."""
    for pair in metrics.comparisons:
        name, whole = headline(pair)
        against = _AGAINST.get(direction(whole))
        for key, change in pair.slices.items():
            if against is None or direction(change) != against:
                continue
            records = metrics.variants[pair.candidate].slices[key].overall.rows
            yield Said(
                f"For {part(key)}, macro F1 of {pair.candidate} is {against} than that of "
                f"{pair.baseline}: {percent(change.candidate)} against {percent(change.baseline)}, "
                f"{gap(change)}, of {counted(records, 'record')} scored. Over all records {name} "
                f"goes the other way, {gap(whole)}.",
                {**changed(change), "records": records},
                [pair.baseline, pair.candidate],
                slices=[key],
            )


def slice_behind(metrics: Metrics) -> Iterator[Said]:
    """Say on which slices a variant does worse than on all records, over the same labels."""
    for name, variant in judged(metrics).items():
        for key, each in variant.slices.items():
            whole = _same_labels(variant, each)
            figure = each.overall.macro_f1_supported
            among = _beside(variant, key)
            if whole is None or not below(figure, whole, among):
                continue
            averaged = len(each.overall.supported_labels)
            yield Said(
                f"{name} does worse for {part(key)} than on all records: macro F1 over the "
                f"{counted(averaged, 'label')} with enough opinions there is {share(figure)} on "
                f"{counted(each.overall.evaluated_rows, 'record')}, over the same labels "
                f"{percent(whole)} on all {count(variant.overall.evaluated_rows)}.",
                {
                    **estimated("macro_f1", figure),
                    "whole": whole,
                    "labels": averaged,
                    "records": each.overall.evaluated_rows,
                },
                [name],
                slices=[key],
            )


def _same_labels(variant: VariantMetrics, part: SliceMetrics) -> float | None:
    """Return the macro F1 on all records over the labels that the slice's is over."""
    values = [variant.labels[label].f1 for label in part.overall.supported_labels]
    known = [value.value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _beside(variant: VariantMetrics, key: str) -> int:
    column = key.partition("=")[0]
    return sum(other.partition("=")[0] == column for other in variant.slices)


def quarantine(metrics: Metrics) -> Iterator[Said]:
    """Say that much of the input was not scored."""
    records = metrics.records
    if not records.input or records.quarantined <= QUARANTINED * records.input:
        return
    mix = [statuses.records(count(n), reason) for reason, n in records.by_reason.items()]
    yield Said(
        f"{count(records.quarantined)} of {counted(records.input, 'input record')} "
        f"({percent(records.quarantined / records.input)}) were not scored and are in no other "
        f"figure: {listed(mix)}. What was scored need not stand for the whole input.",
        {
            "quarantined": records.quarantined,
            "input": records.input,
            "share": records.quarantined / records.input,
            "bound": QUARANTINED,
            **{f"reason_{reason}": number for reason, number in records.by_reason.items()},
        },
        list(metrics.variants),
    )


def lower_slices(pair: Comparison) -> list[str]:
    """Return the slices on which the candidate is lower by the corrected test."""
    return [key for key, change in pair.slices.items() if direction(change) == "lower"]
