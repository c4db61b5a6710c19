"""Which figures get an interval, of which form, and why the others get none."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from medsent.metrics.statistics.intervals import (
    clusters,
    f1_interval,
    mean_interval,
    ratio_interval,
    spread,
)
from medsent.metrics.statistics.metrics import LABEL_FIGURES, RATES, Cells, overall_figures
from medsent.metrics.statistics.replicates import (
    Bools,
    Drawn,
    macro_replicates,
    overall_replicates,
)
from medsent.reducer.counts import Counts
from medsent.reducer.resamples import Resamples
from medsent.reducer.sketch import Sketch

FEW_OPINIONS: Final = 10
"""With fewer opinions that have a label, it gets no interval."""
ROUGH_BELOW: Final = 20
"""With fewer its interval is marked rough."""
NoInterval: TypeAlias = Literal[
    "undefined",
    "no_replicates",
    "too_few_opinions",
    "too_few_disagreements",
    "no_variation",
    "gold_missing",
    "from_zero",
    "not_estimated",
]
"""Why a figure has no interval."""

NOT_ESTIMATED: Final = tuple(
    f"macro_{rate}_undefined_as_{rule}" for rate in RATES for rule in (0, 1)
)
"""The same averages under other rules for undefined labels: they have no interval of their own."""

_WILSON: Final = (
    "generation_success_rate",
    "micro_precision",
    "micro_recall",
    "hamming_accuracy",
    "subset_accuracy",
)


@dataclass(frozen=True)
class Bounds:
    """The interval of one figure, or why there is none."""

    low: float | None = None
    high: float | None = None
    rough: bool = False
    none: NoInterval | None = None


def opinions_with(sketches: list[Sketch]) -> npt.NDArray[np.int64]:
    """Return how many opinions there are of each label; 64 stands for 64 or more."""
    return np.array([len(sketch) for sketch in sketches])


def label_bounds(counts: Counts, resamples: Resamples | None) -> dict[str, list[Bounds]]:
    """Return for each of `LABEL_FIGURES` the intervals of the labels."""
    if resamples is None:
        bare = [Bounds(none="no_replicates")] * counts.labels
        return {name: list(bare) for name in LABEL_FIGURES}
    point, drawn = Cells.of(counts), Cells.drawn(resamples)
    opinions = opinions_with(resamples.positives)
    found = {name: _label_figure(name, point, drawn, opinions) for name in LABEL_FIGURES}
    gaps = counts.missing > 0
    found["predicted_rate"] = [
        Bounds(none="gold_missing") if gap else bounds
        for gap, bounds in zip(gaps, found["predicted_rate"], strict=True)
    ]
    return found


def _label_figure(
    name: str, point: Cells, drawn: Cells, opinions: npt.NDArray[np.int64]
) -> list[Bounds]:
    value, numbers = point.value(name), clusters(drawn.ratio(name)[1])
    found = spread(drawn.value(name), numbers - 1)
    if name == "f1":
        few = opinions
        low, high = f1_interval(value, found, np.where(opinions < 64, opinions, numbers))
    else:
        few = np.nan_to_num(np.minimum(numbers, opinions) if name == "recall" else numbers)
        low, high = ratio_interval(value, found, numbers)
    return [_bounds(*each) for each in zip(value, low, high, few, strict=True)]


def _bounds(value: float, low: float, high: float, opinions: float) -> Bounds:
    if np.isnan(value):
        return Bounds(none="undefined")
    if opinions < FEW_OPINIONS or np.isnan(low):
        return Bounds(none="too_few_opinions")
    return Bounds(float(low), float(high), rough=bool(opinions < ROUGH_BELOW))


def supported(counts: Counts, resamples: Resamples) -> dict[str, Bools]:
    """Return for each of `RATES` which labels have enough opinions to be averaged, (L,)."""
    drawn = Cells.drawn(resamples)
    positives = opinions_with(resamples.positives) >= FEW_OPINIONS
    given = np.nan_to_num(clusters(drawn.ratio("precision")[1])) >= FEW_OPINIONS
    point = Cells.of(counts)
    return {
        rate: ~np.isnan(point.value(rate))
        & (given & positives if rate == "precision" else positives)
        for rate in RATES
    }


def overall_bounds(counts: Counts, resamples: Resamples | None) -> dict[str, Bounds]:
    """Return the intervals of the overall figures.

    A macro average that is over labels with too few opinions gets none.
    """
    values = overall_figures(counts)
    if resamples is None:
        return dict.fromkeys(values, Bounds(none="no_replicates"))
    kept = supported(counts, resamples)
    drawn = overall_replicates(resamples, kept)
    found = dict.fromkeys(values, Bounds(none="not_estimated"))
    found |= {name: _overall_figure(name, values[name], each) for name, each in drawn.items()}
    point = Cells.of(counts)
    for rate in RATES:
        if (~np.isnan(point.value(rate)) & ~kept[rate]).any():
            found[f"macro_{rate}"] = Bounds(none="too_few_opinions")
    return found


def supported_macro(counts: Counts, resamples: Resamples | None) -> tuple[Bools, float, Bounds]:
    """Return the labels with enough opinions, (L,), macro F1 over them, and its interval."""
    if resamples is None:
        return np.zeros(counts.labels, dtype=bool), float("nan"), Bounds(none="no_replicates")
    kept = supported(counts, resamples)["f1"]
    if not kept.any():
        return kept, float("nan"), Bounds(none="too_few_opinions")
    value = float(Cells.of(counts).value("f1")[kept].mean())
    drawn = macro_replicates(resamples, "f1", kept)
    return kept, value, _overall_figure("macro_f1", value, drawn)


def _overall_figure(name: str, value: float, drawn: Drawn) -> Bounds:
    if np.isnan(value):
        return Bounds(none="undefined")
    df = drawn.df
    if not df >= FEW_OPINIONS - 1:
        return Bounds(none="too_few_opinions")
    found = spread(drawn.values, df)
    if name == "micro_f1":
        low, high = f1_interval(value, found, df + 1)
    elif name in _WILSON:
        low, high = ratio_interval(value, found, df + 1)
    else:
        low, high = mean_interval(value, found, df + 1)
    if np.isnan(low):
        return Bounds(none="too_few_opinions")
    return Bounds(float(low), float(high), rough=df + 1 < ROUGH_BELOW)
