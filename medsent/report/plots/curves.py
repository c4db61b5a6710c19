"""The curves of probabilities, a small panel for each label: reliability, and thresholds."""

from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from medsent.metrics.calibration import Calibration, LabelCalibration, ReliabilityBin
from medsent.metrics.estimate import Figure
from medsent.metrics.model import VariantMetrics
from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import Plot
from medsent.report.plots.canvas import SMALL_PT, fitted, mark, panels, short, write
from medsent.report.plots.svg import BASELINE, CANDIDATE, INK, LINE, MUTED, PAPER, inline

FEW_IN_BIN: Final = 20
"""A bin with fewer records is pale: by chance alone its rate is off by a tenth and more."""

DEFAULT_THRESHOLD: Final = 0.5

_COLUMNS: Final = 6
_PALE: Final = 0.4
_NAME_PT: Final = 8.0
_NAME_IN: Final = 1.05
"""Room for a label's name above its panel."""


def reliability(sides: Mapping[str, Calibration], baseline: str | None, name: str) -> Plot:
    """Draw how often each label is true at each probability, for one or two variants."""
    labels = list(next(iter(sides.values())).labels)
    figure, axes, key = _panels(len(labels))
    for panel, label in zip(axes, labels, strict=True):
        found = {variant: side.labels[label] for variant, side in sides.items()}
        _panel(panel, label, list(found.values()))
        _ticks(panel, ((0.0, "0"), (1.0, "1")))
        panel.plot([0, 1], [0, 1], color=MUTED, linewidth=0.5, zorder=0)
        for variant, each in found.items():
            _bins(panel, each.bins, ring=variant == baseline)
    _key(key, [(short(variant), _dot(variant == baseline)) for variant in sides])
    told = " and ".join(
        f"{variant} (ring)" if variant == baseline else f"{variant} (dot)" for variant in sides
    )
    caption = (
        f"Reliability by label, {told}: across, the mean probability of the records in a tenth; "
        "up, the share of them that has the label. On the diagonal a probability means what it "
        f"says. Tenths without records are not drawn, pale ones have fewer than {FEW_IN_BIN}."
    )
    svg = inline(figure, name, f"Reliability curves of {len(labels)} labels, {told}.")
    return Plot(svg, caption, define="reliability")


def _panels(labels: int) -> tuple[Canvas, list[Axes], Axes]:
    """Return a panel for each label and one for the key, which is too wide for the end of a row."""
    skipped = 1 if (labels + 1) % _COLUMNS == 0 else 0
    figure, axes = panels(labels + skipped + 1, _COLUMNS)
    for unused in axes[labels:-1]:
        unused.axis("off")
    return figure, axes[:labels], axes[-1]


def _bins(axes: Axes, bins: Sequence[ReliabilityBin], ring: bool) -> None:
    """Draw one variant's bins, with a line through them."""
    known = [
        (each.mean_probability, each.observed_rate, each.records)
        for each in bins
        if each.mean_probability is not None and each.observed_rate is not None
    ]
    colour = BASELINE if ring else CANDIDATE
    _line(axes, [x for x, _, _ in known], [y for _, y, _ in known], colour, 1.0)
    for x, y, records in known:
        face, size = (PAPER, 3.4) if ring else (colour, 4.2)
        alpha = _PALE if records < FEW_IN_BIN else 1.0
        mark(axes, x, y, face=face, edge=colour, size=size, width=1.0, alpha=alpha)


def thresholds(variant_name: str, variant: VariantMetrics, name: str) -> Plot | None:
    """Draw F1, precision and recall by threshold; None without probabilities."""
    if variant.calibration is None:
        return None
    labels = variant.calibration.labels
    figure, axes, key = _panels(len(labels))
    used = variant.thresholds or {}
    for panel, (label, found) in zip(axes, labels.items(), strict=True):
        _panel(panel, label, [found])
        _threshold(panel, used.get(label, DEFAULT_THRESHOLD))
        for figures, style in zip(_curves(found), _STYLES, strict=True):
            colour, width, dashes = style
            _line(panel, found.curve.thresholds, figures, colour, width, dashes)
    _key(key, [*zip(("F1", "precision", "recall"), starmap(_stroke, _STYLES), strict=True), _USED])
    caption = (
        f"F1, precision (thin) and recall (dashed) of {variant_name} by threshold, on these very "
        "records: the best threshold here is too good for others, so thresholds are tuned on a "
        "validation run. The upright line is the threshold in use."
    )
    about = f"F1, precision and recall of {variant_name} by threshold, for {len(labels)} labels."
    return Plot(inline(figure, name, about), caption, define="threshold_curve")


def _curves(label: LabelCalibration) -> tuple[Sequence[Figure], ...]:
    return label.curve.f1, label.curve.precision, label.curve.recall


def _threshold(axes: Axes, value: float) -> None:
    """Draw the threshold in use, its value below in place of what it would cover."""
    axes.plot([value, value], [0, 1], color=INK, linewidth=0.8, zorder=1)
    ends = ((0.0, "0"), (1.0, "1"))
    _ticks(axes, [(at, text) for at, text in ends if abs(at - value) > 0.3])
    write(axes, min(max(value, 0.1), 0.9), _BELOW, f"{value:.2f}", INK, "center", size=SMALL_PT)


_BELOW: Final = -0.16
_Style = tuple[str, float, tuple[float, float] | None]
_STYLES: Final[tuple[_Style, ...]] = (
    (CANDIDATE, 1.7, None),
    (MUTED, 0.9, None),
    (MUTED, 0.9, (2.5, 1.6)),
)
"""Of F1, precision and recall: colour, width in points, dashes."""


def _panel(axes: Axes, label: str, found: Sequence[LabelCalibration]) -> None:
    """Draw the frame of a label's panel; its name is pale where it has few positives."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.axis("off")
    axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color=LINE, linewidth=0.8, zorder=0, clip_on=False)
    few = min(each.positives for each in found) < FEW_POSITIVES
    write(axes, 0, 1.12, fitted(label, _NAME_IN, _NAME_PT), MUTED if few else INK, size=_NAME_PT)
    for at in (0, 1):
        write(axes, -0.06, at, str(at), MUTED, align="right", size=SMALL_PT)


def _ticks(axes: Axes, ticks: Sequence[tuple[float, str]]) -> None:
    for at, text in ticks:
        write(axes, at, _BELOW, text, MUTED, align="center", size=SMALL_PT)


def _line(
    axes: Axes,
    across: Sequence[float],
    up: Sequence[Figure],
    colour: str,
    width: float,
    dashes: tuple[float, float] | None = None,
) -> None:
    """Draw a line through the points that are defined."""
    known = [(x, y) for x, y in zip(across, up, strict=True) if y is not None]
    if len(known) > 1:
        style = "-" if dashes is None else (0, dashes)
        xs, ys = zip(*known, strict=True)
        axes.plot(xs, ys, color=colour, linewidth=width, linestyle=style, clip_on=False, zorder=1)


_Draw = Callable[[Axes, float], None]


def _key(axes: Axes, lines: Sequence[tuple[str, _Draw]]) -> None:
    """Explain the signs, in the place of one more panel."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.axis("off")
    for row, (text, draw) in enumerate(lines):
        height = 0.9 - 0.22 * row
        draw(axes, height)
        write(axes, 0.36, height, text, INK, size=_NAME_PT)


def _dot(ring: bool) -> _Draw:
    colour, size = (BASELINE, 3.4) if ring else (CANDIDATE, 4.2)
    face = PAPER if ring else colour

    def draw(axes: Axes, height: float) -> None:
        axes.plot([0, 0.28], [height, height], color=colour, linewidth=1.0)
        mark(axes, 0.14, height, face=face, edge=colour, size=size, width=1.0)

    return draw


def _stroke(colour: str, width: float, dashes: tuple[float, float] | None) -> _Draw:
    def draw(axes: Axes, height: float) -> None:
        _line(axes, [0, 0.28], [height, height], colour, width, dashes)

    return draw


def _upright(axes: Axes, height: float) -> None:
    axes.plot([0.14, 0.14], [height - 0.08, height + 0.08], color=INK, linewidth=0.8)


_USED: Final[tuple[str, _Draw]] = ("threshold in use", _upright)
