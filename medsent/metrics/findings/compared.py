"""Rules on a candidate against a baseline: the whole, the labels, and what stands out."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final, Literal

from medsent.metrics.estimate import Estimate
from medsent.metrics.findings.bounds import FEWEST_OPINIONS, STANDOUTS
from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.wording import (
    UNCORRECTED,
    changed,
    estimated,
    first,
    gap,
    listed,
    opinions,
    share,
)
from medsent.metrics.format import count, counted, percent, points
from medsent.metrics.headline import headline
from medsent.metrics.model import Change, Comparison, Metrics
from medsent.metrics.significance import direction, untested

_Way = Literal["higher", "lower"]
_SIDE: Final[dict[_Way, str]] = {"higher": "above", "lower": "below"}


def macro_alone(metrics: Metrics) -> Iterator[Said]:
    """Say each variant's macro F1, in a run that compares nothing."""
    for name, variant in metrics.variants.items() if not metrics.comparisons else ():
        overall = variant.overall
        figure, few = overall.macro_f1, False
        if figure is not None and figure.no_interval and overall.macro_f1_supported is not None:
            figure, few = overall.macro_f1_supported, True
        if figure is None:
            continue
        defined = sum(label.f1 is not None for label in variant.labels.values())
        averaged = len(overall.supported_labels) if few else defined
        yield Said(
            f"{_over(averaged, few)}, {name} has a macro F1 of {share(figure)} on "
            f"{counted(overall.evaluated_rows, 'record')}.",
            {
                **estimated("macro_f1", figure),
                "labels": averaged,
                "records": overall.evaluated_rows,
            },
            [name],
        )


def overall_change(metrics: Metrics) -> Iterator[Said]:
    """Say whether macro F1 differs, and which difference could have been seen."""
    for pair in metrics.comparisons:
        name, change = headline(pair)
        if change.difference is None:
            continue
        averaged = _averaged(pair, few=name != "macro F1")
        yield Said(
            f"{_over(averaged, name != 'macro F1')}, {_told(pair, change)}: "
            f"{percent(change.candidate)} against {percent(change.baseline)}, {gap(change)}, on "
            f"{counted(pair.records, 'record')}.{_visible(change)}",
            {**changed(change), "labels": averaged, "records": pair.records},
            [pair.baseline, pair.candidate],
        )


def _over(labels: int, few: bool) -> str:
    which = "with enough opinions" if few else "where F1 is defined"
    return f"Over the {counted(labels, 'label')} {which}"


def _told(pair: Comparison, change: Change) -> str:
    found = direction(change)
    if found == "too few to tell":
        return (
            f"it cannot be told whether {pair.candidate} and {pair.baseline} differ in macro F1 "
            f"({untested(change)})"
        )
    if found == "no difference detected":
        return f"no difference in macro F1 was found between {pair.candidate} and {pair.baseline}"
    return f"{pair.candidate} has a {found} macro F1 than {pair.baseline}"


def _visible(change: Change) -> str:
    if change.detectable is None:
        return ""
    return (
        f" A true difference of {100 * change.detectable:.1f} points would show in 4 of 5 such "
        "runs; a smaller one may go unseen."
    )


def _averaged(pair: Comparison, few: bool) -> int:
    fewest = FEWEST_OPINIONS if few else 0
    return sum(
        change.difference is not None and (change.opinions or 0) >= fewest
        for change in pair.labels.values()
    )


def labels_changed(metrics: Metrics, way: _Way) -> Iterator[Said]:
    """Say for which labels F1 is higher, or lower, by the corrected test."""
    for pair in metrics.comparisons:
        found = _going(pair, way)
        if not found:
            continue
        tested = sum(change.p is not None for change in pair.labels.values())
        named = [f"{label} {points(_known(each).value)}" for label, each in found.items()]
        nearest = min((_bounds(_known(each)) for each in found.values()), key=_least)
        rough = sum(_known(each).rough for each in found.values())
        which = "Its 95% interval" if len(found) == 1 else "The 95% interval closest to zero"
        yield Said(
            f"{pair.candidate} has a {way} F1 than {pair.baseline} for {count(len(found))} of "
            f"{counted(tested, 'label')} that could be tested: {first(named, ' points')}. {which} "
            f"is {points(nearest[0])} to {points(nearest[1])}, on "
            f"{counted(pair.records, 'record')}.{_rough(rough, len(found))}",
            {
                "labels": len(found),
                "tested": tested,
                "records": pair.records,
                "nearest_low": nearest[0],
                "nearest_high": nearest[1],
                "largest_p_corrected": max(each.p_corrected or 0.0 for each in found.values()),
                **{f"difference_{label}": _known(each).value for label, each in found.items()},
            },
            [pair.baseline, pair.candidate],
            list(found),
        )


def _rough(rough: int, labels: int) -> str:
    if not rough:
        return ""
    which = "It" if labels == 1 else f"{rough} of these {labels}"
    few = (
        "rests on few opinions and is rough" if rough == 1 else "rest on few opinions and are rough"
    )
    return f" {which} {few}."


labels_higher = partial(labels_changed, way="higher")
labels_lower = partial(labels_changed, way="lower")


def _going(pair: Comparison, way: str) -> dict[str, Change]:
    """Return the labels whose test says so, the largest difference first."""
    found = {label: each for label, each in pair.labels.items() if direction(each) == way}
    return dict(sorted(found.items(), key=lambda item: -abs(_known(item[1]).value)))


def _known(change: Change) -> Estimate:
    assert change.difference is not None
    return change.difference


def _bounds(figure: Estimate) -> tuple[float, float]:
    assert figure.low is not None
    assert figure.high is not None
    return figure.low, figure.high


def _least(bounds: tuple[float, float]) -> float:
    return min(map(abs, bounds))


def labels_undecided(metrics: Metrics) -> Iterator[Said]:
    """Say for which labels a test was made and no difference detected."""
    for pair in metrics.comparisons:
        found = {
            label: each.detectable
            for label, each in pair.labels.items()
            if direction(each) == "no difference detected" and each.detectable is not None
        }
        if not found:
            continue
        least, most = (choose(found, key=lambda label: found[label]) for choose in (min, max))
        yield Said(
            f"No difference in F1 was found for {counted(len(found), 'label')}: "
            f"{listed(found)}. That does not say that there is none: with "
            f"{counted(pair.records, 'record')} a true difference shows in 4 of 5 runs, "
            f"{UNCORRECTED}, only if it is {_from(found, least, most)}.",
            {
                "labels": len(found),
                "records": pair.records,
                "least_detectable": found[least],
                "most_detectable": found[most],
            },
            [pair.baseline, pair.candidate],
            list(found),
        )


def _from(found: Mapping[str, float], least: str, most: str) -> str:
    low, high = (f"{100 * found[label]:.1f} points or more" for label in (least, most))
    return low if low == high else f"{low} for {least}, up to {high} for {most}"


def standouts(metrics: Metrics, way: _Way) -> Iterator[Said]:
    """Say which labels changed by more than the average did, interval clear of interval."""
    for pair in metrics.comparisons:
        _, change = headline(pair)
        if change.difference is None or change.difference.low is None:
            continue
        average = change.difference
        found = [
            label for label, each in _going(pair, way).items() if _clear(_known(each), average, way)
        ]
        for label in found[:STANDOUTS]:
            each = pair.labels[label]
            yield Said(
                f"{label} stands out: its F1 goes from {percent(each.baseline)} to "
                f"{percent(each.candidate)}, {gap(each)}. Its whole interval lies {_SIDE[way]} "
                f"that of the change in average F1, {gap(change)}. {opinions(each.opinions)} have "
                "the label.",
                {
                    **changed(each),
                    "average_difference": average.value,
                    "average_low": average.low,
                    "average_high": average.high,
                    "opinions": each.opinions,
                },
                [pair.baseline, pair.candidate],
                [label],
            )


standout_gain = partial(standouts, way="higher")
standout_loss = partial(standouts, way="lower")


def _clear(figure: Estimate, average: Estimate, way: _Way) -> bool:
    low, high = _bounds(figure)
    average_low, average_high = _bounds(average)
    return low > average_high if way == "higher" else high < average_low
