"""Figures as cells of a table: with their interval, or the reason why there is none."""

from collections.abc import Mapping
from typing import Final

from medsent.metrics.estimate import Estimate, Estimated
from medsent.metrics.format import (
    p_value,
    percent,
    points,
    relative,
    share_interval,
    signed_interval,
)
from medsent.metrics.model import Change, LabelMetrics
from medsent.metrics.significance import direction
from medsent.metrics.statistics.estimates import NoInterval
from medsent.report.document import Cell, Tone, undefined

NOTHING_COMPARED: Final = "no record with both gold and a usable answer"
NO_POSITIVES: Final = "no positive, in gold or as given"
NEVER_GIVEN: Final = "the label was never given"
NONE_IN_GOLD: Final = "no positive in gold"
ONE_SIDED: Final = "for the baseline or the candidate"

NO_INTERVAL: Final[Mapping[NoInterval, str]] = {
    "undefined": "no interval: undefined",
    "no_replicates": "no interval: none was asked for, or the column has many values",
    "too_few_opinions": "no interval: too few opinions to tell",
    "too_few_disagreements": "no interval: the variants disagree on too few opinions to tell",
    "no_variation": "no interval: all opinions change alike",
    "gold_missing": "no interval: some records have no gold for the label",
    "from_zero": "no interval: the baseline comes close to zero",
    "not_estimated": "no interval: the same labels under another rule",
}


def share_cell(share: float | None, reason: str) -> Cell:
    """Return a cell for a share of 0 to 1 that has no interval."""
    return undefined(reason) if share is None else Cell(percent(share), share)


def estimate_cell(figure: Estimated, reason: str) -> Cell:
    """Return a cell for a share with its interval, or the reason why there is none."""
    if figure is None:
        return undefined(reason)
    return _estimated(percent(figure.value), figure, share_interval(figure))


def difference_cell(change: Change) -> Cell:
    """Return a cell for candidate minus baseline, in points."""
    figure = change.difference
    if figure is None:
        return undefined(ONE_SIDED)
    return _estimated(points(figure.value), figure, signed_interval(figure), _tone(change))


def relative_cell(change: Change) -> Cell:
    """Return a cell for a relative improvement; one from zero sorts above all others."""
    if change.kind == "undefined":
        return undefined(ONE_SIDED)
    if change.relative is None:
        sort = 0.0 if change.kind == "unchanged" else float("inf")
        return Cell(relative(change), sort, tone=_tone(change))
    interval = signed_interval(change.relative)
    return _estimated(relative(change), change.relative, interval, _tone(change))


def _estimated(text: str, figure: Estimate, interval: str | None, tone: Tone | None = None) -> Cell:
    return Cell(
        text,
        figure.value,
        interval=interval,
        reason=NO_INTERVAL[figure.no_interval] if figure.no_interval else None,
        tone=tone,
        tag="rough" if figure.rough else None,
    )


def p_cell(change: Change, corrected: bool = True) -> Cell:
    """Return a cell for the p-value of a change."""
    p = change.p_corrected if corrected else change.p
    return Cell(p_value(p), p)


def f1_cell(label: LabelMetrics) -> Cell:
    """Return a cell for a label's F1."""
    return estimate_cell(label.f1, reason_of(label, NO_POSITIVES))


def _tone(change: Change) -> Tone:
    """Only what the test tells from chance has a colour."""
    found = direction(change)
    return "better" if found == "higher" else "worse" if found == "lower" else "quiet"


def reason_of(label: LabelMetrics, otherwise: str) -> str:
    """Return why a label's figure is undefined."""
    compared = label.tp + label.fp + label.fn + label.tn
    return otherwise if compared else NOTHING_COMPARED
