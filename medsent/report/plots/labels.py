"""The plots of a report, drawn with matplotlib and its SVG writer; no global state is touched."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
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

_ROWS_IN: Final = 4.9
"""A plot with a row a label is narrower than others: it stands beside the verdict."""
_ROW_NAMES_IN: Final = 1.4
_RIGHT_IN: Final = 1.3
"""Room for its two columns of figures."""


def dumbbell(metrics: Metrics, comparison: Comparison, name: str) -> Plot:
    """Draw F1 per label, from baseline to candidate, the largest gain on top.

    Labels where one of the two is undefined stand at the bottom.
    """
    changes = sorted(
        comparison.labels.items(), key=lambda item: _value(item[1].difference), reverse=True
    )
    rows = _Rows([label for label, _ in changes], "points")
    for row, (label, change) in enumerate(changes):
        sides = [
            metrics.variants[name].labels[label]
            for name in (comparison.baseline, comparison.candidate)
        ]
        _dumbbell_row(rows, row, change, sides)
    _legend(rows, comparison)
    svg = inline(rows.figure, name, _dumbbell_label(comparison, changes))
    title = f"F1 by label, {comparison.baseline} to {comparison.candidate}"
    return Plot(svg, _dumbbell_caption(comparison), title=title)


def _dumbbell_caption(comparison: Comparison) -> str:
    figures = [change.difference for change in comparison.labels.values()]
    bands = (
        "Bands are 95% intervals of the difference, drawn from the ring; a label that too few "
        "opinions have gets none."
        if any(figure is not None and figure.low is not None for figure in figures)
        else "No difference here has an interval."
    )
    grey = (
        f"Red: {comparison.candidate} is lower. Grey: no difference found, after correction for "
        "the number of labels, or too few opinions to tell."
        if any(change.p is not None for change in comparison.labels.values())
        else "Nothing was tested, so every label is grey."
    )
    return (
        f"Ring: {comparison.baseline}. Dot: {comparison.candidate}. {bands} {grey} Positives are "
        "the records that have the label."
    )


def _value(figure: Estimated) -> float:
    """Return a figure to sort by: one that is undefined comes after all others."""
    return float("-inf") if figure is None else figure.value


def _dumbbell_row(rows: "_Rows", row: int, change: Change, sides: Sequence[LabelMetrics]) -> None:
    axes, found = rows.axes, direction(change)
    shade = INK if found in ("higher", "lower") else MUTED
    colour = WORSE if found == "lower" else CANDIDATE if found == "higher" else MUTED
    if change.baseline is not None and change.candidate is not None:
        ends = [change.baseline, change.candidate]
        axes.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=1)
        _band(axes, row, change.difference, colour, start=change.baseline)
    if change.candidate is not None:
        mark(axes, change.candidate, row, face=colour, edge=colour, size=6.5)
    if change.baseline is not None:
        mark(axes, change.baseline, row, face=PAPER, edge=BASELINE, size=5.0)
    positives = min(side.support for side in sides)
    rows.write(row, points(value_of(change.difference)), count(positives), shade)


def _band(axes: Axes, row: int, figure: Estimated, colour: str, start: float = 0.0) -> None:
    """Draw an interval; that of a difference from where the difference begins."""
    if figure is not None and figure.low is not None and figure.high is not None:
        ends = [min(max(start + end, 0.0), 1.0) for end in (figure.low, figure.high)]
        axes.plot(
            ends, [row, row], color=colour, linewidth=8, alpha=0.3, solid_capstyle="butt", zorder=1
        )


def _legend(rows: "_Rows", comparison: Comparison) -> None:
    """Write the names above the axis, the candidate's at its right end."""
    axes, gap = rows.axes, rows.inches(0.12)
    room_in = 0.5 / rows.inches(1.0) - 0.25
    mark(axes, gap / 2, _HEAD, face=PAPER, edge=BASELINE, size=5.0)
    write(axes, 1.5 * gap, _HEAD, fitted(comparison.baseline, room_in), INK)
    mark(axes, 0.5 + gap / 2, _HEAD, face=CANDIDATE, edge=CANDIDATE, size=6.5)
    write(axes, 0.5 + 1.5 * gap, _HEAD, fitted(comparison.candidate, room_in), INK)


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
    figures = {label: each.f1 for label, each in metrics.variants[variant].labels.items()}
    support = {label: each.support for label, each in metrics.variants[variant].labels.items()}
    svg = _dots(figures, support, ("F1", "positives"), f"F1 of {variant}", name)
    caption = (
        "Bands are 95% intervals. Positives are the records that have the label; a pale name has "
        "few."
    )
    return Plot(svg, caption, title=f"F1 by label, {variant}")


def given(metrics: Metrics, variant: str, name: str) -> Plot:
    """Draw how often a variant gives each label, for a run without gold, the most often on top."""
    labels = metrics.variants[variant].labels
    rates = {label: each.predicted_rate for label, each in labels.items()}
    title = f"Share of answers with each label, {variant}"
    svg = _dots(rates, None, ("given", ""), title, name)
    return Plot(
        svg, "Of the answers that could be used. Bands, if any, are 95% intervals.", title=title
    )


def _dots(
    figures: Mapping[str, Estimated],
    support: Mapping[str, int] | None,
    heads: tuple[str, str],
    about: str,
    name: str,
) -> str:
    """Draw a figure per label with, at the right, its value and its support where it has one."""
    labels = sorted(figures, key=lambda label: _value(figures[label]), reverse=True)
    rows = _Rows(labels, *heads)
    for row, label in enumerate(labels):
        figure = figures[label]
        told = percent(value_of(figure))
        few = support is not None and support[label] < FEW_POSITIVES
        if figure is not None:
            _band(rows.axes, row, figure, CANDIDATE)
            mark(rows.axes, figure.value, row, face=CANDIDATE, edge=CANDIDATE, size=6.5)
        number = "" if support is None else count(support[label])
        rows.write(row, told, number, MUTED if few else INK)
    return inline(
        rows.figure, name, f"{about}, for {counted(len(labels), 'label')}, highest first."
    )


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
    """Return the personas with the most records, in the given order, which also breaks ties."""
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


_HEAD: Final = -1.35
"""The row above the first."""


class _Rows:
    """An axis of 0 to 100% with a row a label: its name before, two columns of figures behind."""

    def __init__(self, labels: Sequence[str], first: str, second: str = "positives") -> None:
        self._names = [fitted(label, _ROW_NAMES_IN) for label in labels]
        left_in = max(1.2, 0.15 + max(map(width_in, self._names), default=0.0))
        self.figure, self.axes = frame(
            len(labels), left_in, _RIGHT_IN, top_in=0.45, row_in=0.24, width_in=_ROWS_IN
        )
        self._axis_in = _ROWS_IN - left_in - _RIGHT_IN
        percent_axis(self.axes, len(labels))
        for row in range(len(labels)):
            self.axes.plot([0, 1], [row, row], color=LINE, linewidth=0.6, zorder=0)
        self._figures(_HEAD, first, second, MUTED)

    def inches(self, length: float) -> float:
        """Return a length on the axis."""
        return length / self._axis_in

    def write(self, row: int, first: str, second: str, shade: str) -> None:
        """Write a label's name and figures."""
        write(self.axes, -self.inches(0.12), row, self._names[row], shade, align="right")
        self._figures(row, first, second, shade)

    def _figures(self, row: float, first: str, second: str, shade: str) -> None:
        for text, behind_in in ((first, 0.62), (second, _RIGHT_IN - 0.03)):
            if text:
                write(self.axes, 1 + self.inches(behind_in), row, text, shade, align="right")
