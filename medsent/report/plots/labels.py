"""The plots of a report, drawn with matplotlib and its SVG writer; no global state is touched."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medsent.metrics.estimate import Estimated, value_of
from medsent.metrics.format import UNDEFINED, count, counted, percent, points
from medsent.metrics.model import (
    Change,
    Comparison,
    LabelMetrics,
    Metrics,
    SliceMetrics,
    VariantMetrics,
)
from medsent.metrics.significance import direction
from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import Plot
from medsent.report.plots.canvas import (
    SMALL_PT,
    WIDTH_IN,
    fitted,
    frame,
    mark,
    percent_axis,
    short,
    width_in,
    write,
)
from medsent.report.plots.svg import (
    BASELINE,
    CANDIDATE,
    HEAT,
    HEAT_STEPS,
    INK,
    LINE,
    MUTED,
    PAPER,
    WORSE,
    inline,
)
from medsent.report.tables.slices import PERSONA, values_of

MOST_PERSONAS: Final = 40
"""A heat map shows so many, those with the most records; its table has all."""

_LEAST_COLUMNS: Final = 12
"""A heat map of fewer labels leaves the rest of its width empty."""
_CELL_IN: Final = 0.25
"""Room that the figure in a cell takes: many labels are drawn in several heat maps."""
_PERSONAS_IN: Final = 1.75
_NAMES_IN: Final = 1.7
"""Room for a label's name."""
_TURN: Final = 50.0
"""Degrees by which the names above a heat map are turned."""

_APART: Final = 0.24
"""Rows between a label's marks and the interval of each."""


def dumbbell(metrics: Metrics, comparison: Comparison, name: str) -> Plot:
    """Draw F1 per label, from baseline to candidate, the largest gain on top.

    Labels where one of the two is undefined stand at the bottom.
    """
    changes = sorted(comparison.labels.items(), key=lambda item: _gain(item[1]), reverse=True)
    figure, axes = _by_label([label for label, _ in changes])
    for row, (label, change) in enumerate(changes):
        sides = [
            metrics.variants[name].labels[label]
            for name in (comparison.baseline, comparison.candidate)
        ]
        _dumbbell_row(axes, row, label, change, sides)
    _legend(axes, comparison)
    percent_axis(axes, len(changes))
    svg = inline(figure, name, _dumbbell_label(comparison, changes))
    caption = (
        f"F1 by label, from {comparison.baseline} (ring) to {comparison.candidate} (dot), sorted "
        "by the difference. Thin lines: 95% intervals, the baseline's above and the candidate's "
        "below; a label that too few opinions have gets none, nor does a variant that answered "
        "other records than those compared. Grey: no difference detected, or too "
        "few opinions to tell."
    )
    return Plot(svg, caption)


def _gain(change: Change) -> float:
    return float("-inf") if change.difference is None else change.difference.value


def _dumbbell_row(
    axes: Axes, row: int, label: str, change: Change, sides: Sequence[LabelMetrics]
) -> None:
    found = direction(change)
    shade = INK if found in ("higher", "lower") else MUTED
    colour = WORSE if found == "lower" else CANDIDATE if found == "higher" else MUTED
    axes.plot([0, 1], [row, row], color=LINE, linewidth=0.6, zorder=0)
    if change.baseline is not None and change.candidate is not None:
        ends = [change.baseline, change.candidate]
        axes.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=1)
    if value_of(sides[0].f1) == change.baseline:
        _whisker(axes, row - _APART, sides[0].f1, BASELINE)
    if value_of(sides[1].f1) == change.candidate:
        _whisker(axes, row + _APART, sides[1].f1, colour)
    if change.candidate is not None:
        mark(axes, change.candidate, row, face=colour, edge=colour, size=6.5)
    if change.baseline is not None:
        mark(axes, change.baseline, row, face=PAPER, edge=BASELINE, size=5.0)
    write(axes, -0.03, row, fitted(label, _NAMES_IN), shade, align="right")
    write(axes, 1.14, row, points(value_of(change.difference)), shade, align="right")
    positives = min(side.support for side in sides)
    write(axes, 1.28, row, count(positives), shade, align="right")


def _whisker(axes: Axes, row: float, figure: Estimated, colour: str) -> None:
    """Draw a figure's interval."""
    if figure is not None and figure.low is not None and figure.high is not None:
        axes.plot(
            [figure.low, figure.high], [row, row], color=colour, linewidth=1.1, alpha=0.75, zorder=1
        )


def _legend(axes: Axes, comparison: Comparison) -> None:
    row = -1.35
    mark(axes, 0.01, row, face=PAPER, edge=BASELINE, size=5.0)
    write(axes, 0.04, row, short(comparison.baseline), INK)
    mark(axes, 0.51, row, face=CANDIDATE, edge=CANDIDATE, size=6.5)
    write(axes, 0.54, row, short(comparison.candidate), INK)
    write(axes, 1.14, row, "points", MUTED, align="right")
    write(axes, 1.28, row, "positives", MUTED, align="right")


def _dumbbell_label(comparison: Comparison, changes: Sequence[tuple[str, Change]]) -> str:
    known = [(label, change) for label, change in changes if change.difference is not None]
    about = f"F1 of {len(changes)} labels, {comparison.baseline} to {comparison.candidate}."
    if not known:
        return about
    ends = (("Most gained", known[0]), ("least gained or most lost", known[-1]))
    told = "; ".join(
        f"{word}: {label}, {percent(change.baseline)} to {percent(change.candidate)}"
        for word, (label, change) in ends
    )
    return f"{about} {told}."


def dots(metrics: Metrics, variant: str, name: str) -> Plot:
    """Draw F1 per label of one variant, for a run without a comparison, the highest on top."""
    labels = sorted(metrics.variants[variant].labels.items(), key=_height, reverse=True)
    figure, axes = _by_label([label for label, _ in labels])
    for row, (label, figures) in enumerate(labels):
        shade = MUTED if figures.support < FEW_POSITIVES else INK
        axes.plot([0, 1], [row, row], color=LINE, linewidth=0.6, zorder=0)
        if figures.f1 is not None:
            _whisker(axes, row, figures.f1, CANDIDATE)
            mark(axes, figures.f1.value, row, face=CANDIDATE, edge=CANDIDATE, size=6.5)
        write(axes, -0.03, row, fitted(label, _NAMES_IN), shade, align="right")
        write(axes, 1.14, row, percent(value_of(figures.f1)), shade, align="right")
        write(axes, 1.28, row, count(figures.support), shade, align="right")
    write(axes, 1.14, -1.35, "F1", MUTED, align="right")
    write(axes, 1.28, -1.35, "positives", MUTED, align="right")
    percent_axis(axes, len(labels))
    svg = inline(figure, name, f"F1 of {variant} for {len(labels)} labels, highest first.")
    caption = f"F1 by label, {variant}, with 95% intervals. Pale names have few positives."
    return Plot(svg, caption)


def _height(item: tuple[str, LabelMetrics]) -> float:
    return -1.0 if item[1].f1 is None else item[1].f1.value


def heat_maps(variant_name: str, variant: VariantMetrics, name: str) -> Iterator[Plot]:
    """Draw F1 by persona and label; pale where there are few positives, empty where undefined.

    Many labels are drawn in several plots, of nearly as many each.
    """
    labels = list(variant.labels)
    over_in = math.cos(math.radians(_TURN)) * max(map(_name_in, labels)) - _CELL_IN
    number = math.ceil(len(labels) * _CELL_IN / (WIDTH_IN - _PERSONAS_IN - over_in))
    for index in range(number):
        first, end = (len(labels) * each // number for each in (index, index + 1))
        part = f"Labels {first + 1} to {end} of {len(labels)}. " if number > 1 else ""
        own = name if index == 0 else f"{name}-{index}"
        yield _heat_map(variant_name, variant, labels[first:end], own, part)


def _heat_map(
    variant_name: str, variant: VariantMetrics, labels: Sequence[str], name: str, part: str
) -> Plot:
    everyone = values_of(variant, PERSONA)
    personas = _most_records(everyone)
    columns = max(len(labels), _LEAST_COLUMNS)
    names = [fitted(label, _NAMES_IN) for label in labels]
    top_in, right_in = _room(names, columns)
    figure, axes = frame(
        rows=len(personas), left_in=_PERSONAS_IN, right_in=right_in, top_in=top_in, row_in=0.22
    )
    for row, (persona, of_persona) in enumerate(personas.items()):
        write(axes, -0.3, row, short(persona), INK, align="right")
        for column, label in enumerate(labels):
            _heat_cell(axes, column, row, of_persona.labels[label])
    for column, label in enumerate(names):
        write(axes, column + 0.2, -0.75, label, INK, turn=_TURN)
    _heat_scale(axes, len(personas), len(labels))
    axes.set_xlim(0, columns)
    axes.set_ylim(len(personas) + 1.2, -0.5)
    axes.axis("off")
    about = f"{len(personas)} personas and {counted(len(labels), 'label')}"
    svg = inline(
        figure,
        name,
        f"Heat map of the F1 of {variant_name} for {about}. The table below has the numbers.",
    )
    fewer = f" Shown are the {len(personas)} of {len(everyone)} personas with the most records."
    caption = (
        f"{part}F1 of {variant_name} in percent, by persona and label. Pale, in brackets: fewer "
        f"than {FEW_POSITIVES} positives. Dash: undefined."
    )
    return Plot(svg, caption + (fewer if len(personas) < len(everyone) else ""))


def _room(names: Sequence[str], columns: int) -> tuple[float, float]:
    """Return the inches that the turned names of columns take above them, and at their right."""
    turn = math.radians(_TURN)
    top_in = 0.25 + math.sin(turn) * max(map(width_in, names))
    column_in = (WIDTH_IN - _PERSONAS_IN) / columns
    over_in = [
        math.cos(turn) * width_in(name) - (columns - column - 0.2) * column_in
        for column, name in enumerate(names)
    ]
    return max(0.95, top_in), max(0.1, max(over_in) + 0.05)


def _most_records(parts: Mapping[str, SliceMetrics]) -> dict[str, SliceMetrics]:
    """Keep the order; a tie is broken by it."""
    ranked = sorted(parts, key=lambda value: -parts[value].overall.rows)
    kept = set(ranked[:MOST_PERSONAS])
    return {value: part for value, part in parts.items() if value in kept}


def _heat_cell(axes: Axes, column: int, row: int, label: LabelMetrics) -> None:
    middle = column + 0.5
    if label.f1 is None:
        write(axes, middle, row, UNDEFINED, MUTED, align="center", size=6.5)
        return
    step = min(int(label.f1.value * HEAT_STEPS), HEAT_STEPS - 1)
    few = label.support < FEW_POSITIVES
    text = f"({100 * label.f1.value:.0f})" if few else f"{100 * label.f1.value:.0f}"
    _square(axes, column, row, step, pale=few)
    ink = PAPER if step >= HEAT_STEPS // 2 and not few else INK
    write(axes, middle, row, text, ink, align="center", size=6.5)


def _square(axes: Axes, column: float, row: float, step: int, pale: bool = False) -> None:
    corner = (column + 0.03, row - 0.46)
    alpha = 0.35 if pale else 1.0
    axes.add_patch(
        Rectangle(corner, 0.94, 0.92, facecolor=HEAT[step], edgecolor="none", alpha=alpha)
    )


def _heat_scale(axes: Axes, rows: int, labels: int) -> None:
    """Draw the scale below the cells, as far to the right as they go."""
    row = rows + 0.6
    first = max(labels - HEAT_STEPS - 1.2, 1.8)
    write(axes, first - 0.2, row, "F1  0", MUTED, align="right", size=SMALL_PT)
    for step in range(HEAT_STEPS):
        _square(axes, first + step, row, step)
    write(axes, first + HEAT_STEPS + 0.2, row, "100", MUTED, size=SMALL_PT)


def _name_in(label: str) -> float:
    return width_in(fitted(label, _NAMES_IN))


def _by_label(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Return axes with a row a label, and room for the names at the left."""
    left_in = 0.2 + max(map(_name_in, labels), default=0.0)
    return frame(rows=len(labels), left_in=max(1.35, left_in), right_in=1.45, top_in=0.5)
