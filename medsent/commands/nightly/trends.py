"""The plots of many nights: a figure with its interval, and where the gate closes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from math import nan
from typing import Final

from matplotlib.axes import Axes

from medsent.commands.nightly.gate import ANCHORS, TITLES, RuleName, Ruling
from medsent.commands.nightly.history import Night
from medsent.metrics.estimate import Figure
from medsent.metrics.format import UNDEFINED, percent, points, rate
from medsent.report.document import Plot
from medsent.report.plots.canvas import SMALL_PT, TEXT_PT, fitted, panels, short, stack, write
from medsent.report.plots.svg import CANDIDATE, INK, LINE, MUTED, WORSE, inline

MOST_NIGHTS: Final = 90
"""So many nights are drawn, the last ones."""

_COLUMNS: Final = 4
_PANEL: Final = 0.5
"""Height of a label's panel, by its width."""
_ABOVE: Final = 1.12
_BELOW: Final = -0.2
_MOST_TICKS: Final = 8
_NAME_IN: Final = 1.15
"""Room for a label's name above its panel, beside a value."""
_ROOM: Final = 0.12
"""Of the height, above and below what is drawn."""
_LIMIT_DASHES: Final = (0, (3.0, 2.0))

Print = Callable[[Figure], str]


@dataclass(frozen=True)
class Point:
    """One figure of one night."""

    night: date
    value: float
    low: Figure = None
    high: Figure = None
    limits: tuple[float, ...] = ()
    closes: bool = False
    """Whether this figure closed the night."""


@dataclass(frozen=True)
class Trend:
    """One figure over the nights."""

    title: str
    detail: str
    points: Sequence[Point]
    text: Print
    """How to print a value."""


def overall_trends(nights: Sequence[Night], variants: Sequence[str]) -> list[Trend]:
    """Return the trends of each variant's overall figures, then those of the input."""
    trends = [trend for variant in variants for trend in _of_variant(nights, variant)]
    trends.append(_ruled(nights, "quarantine", None, "share", percent))
    for name in ("prompt_tokens", "language", "persona"):
        owners = variants if name == "prompt_tokens" else [None]
        trends += [_ruled(nights, "input", owner, name, _index) for owner in owners]
    return [trend for trend in trends if trend.points]


def label_trends(nights: Sequence[Night], variant: str, rule: RuleName) -> list[Trend]:
    """Return the trend of each label under `labels` or `label_rates`, in the last night's order."""
    labels = dict.fromkeys(
        ruling.subject
        for night in reversed(nights)
        for ruling in night.rules
        if (ruling.rule, ruling.variant) == (rule, variant) and ruling.subject is not None
    )
    return [_ruled(nights, rule, variant, label, points, title=label) for label in labels]


def draw_overall(trends: Sequence[Trend], nights: Sequence[Night], name: str) -> Plot:
    """Draw the trends above each other over the same nights."""
    figure, axes = stack(len(trends))
    for panel, trend in zip(axes, trends, strict=True):
        _panel(panel, trend, nights)
        for height, text, colour in _words(trend):
            size = TEXT_PT if colour == INK else SMALL_PT
            write(
                panel, -0.02, height, text, colour, align="right", size=size, within=panel.transAxes
            )
    for night in _ticks(nights):
        write(
            axes[-1], night.toordinal(), -0.22, f"{night:%m-%d}", MUTED, "center", SMALL_PT,
            within=axes[-1].get_xaxis_transform(),
        )  # fmt: skip
    told = "; ".join(
        f"{trend.title}, {trend.detail}: last {trend.text(trend.points[-1].value)}"
        for trend in trends
    )
    caption = (
        "Each figure night by night (dot) with its 95% interval (upright line) and where the gate "
        "closes (dashed). A larger dot in another colour closed its night; a pale band is a night "
        "that anything closed."
    )
    return Plot(inline(figure, name, f"Trends over {len(nights)} nights. {told}."), caption)


def draw_labels(trends: Sequence[Trend], nights: Sequence[Night], name: str, about: str) -> Plot:
    """Draw the trends of the labels, a small panel for each, all on one scale."""
    figure, axes = panels(len(trends), _COLUMNS, _PANEL)
    ends = _height([point for trend in trends for point in trend.points])
    for panel, trend in zip(axes, trends, strict=True):
        _panel(panel, trend, nights, ends)
        above = panel.transAxes
        last = trend.text(trend.points[-1].value) if trend.points else UNDEFINED
        write(panel, 0, _ABOVE, fitted(trend.title, _NAME_IN), INK, size=TEXT_PT, within=above)
        write(panel, 1, _ABOVE, last, MUTED, align="right", size=SMALL_PT, within=above)
        write(panel, 0, _BELOW, f"{nights[0].night:%m-%d}", MUTED, size=SMALL_PT, within=above)
        if len(nights) > 1:
            end = f"{nights[-1].night:%m-%d}"
            write(panel, 1, _BELOW, end, MUTED, align="right", size=SMALL_PT, within=above)
    closers = [
        f"{trend.title} on {point.night}"
        for trend in trends
        for point in trend.points
        if point.closes
    ]
    told = f"Closed by {', '.join(closers)}" if closers else "None closed a night"
    caption = (
        f"{about}, in points, on one scale: dot, interval corrected over the labels, and where "
        "the gate closes (dashed). The number is the last night's."
    )
    return Plot(inline(figure, name, f"{about}, for {len(trends)} labels. {told}."), caption)


def _of_variant(nights: Sequence[Night], variant: str) -> Iterator[Trend]:
    figures: tuple[tuple[RuleName, str], ...] = (
        ("macro_f1", "macro_f1"),
        ("generation_success", "generation_success_rate"),
    )
    for rule, name in figures:
        yield _alone(nights, rule, variant, name)
        for against in ANCHORS:
            yield _ruled(nights, rule, variant, None, points, against=against)
    for whose in (None, "reference"):
        yield _ruled(nights, "records_per_s", variant, None, rate, against=whose)


def _alone(nights: Sequence[Night], rule: RuleName, variant: str, name: str) -> Trend:
    """Return the trend of a figure itself, with its floor where it has one."""
    found = []
    for night in nights:
        floors = [
            ruling
            for ruling in night.rules
            if (ruling.rule, ruling.variant, ruling.against) == (rule, variant, None)
        ]
        limits = tuple(floor.limit for floor in floors if floor.limit is not None)
        closes = any(floor.status == "closes" for floor in floors)
        figure = night.figure(variant, name)
        if figure is not None:
            found.append(Point(night.night, figure.value, figure.low, figure.high, limits, closes))
    return Trend(TITLES[rule], variant, found, percent)


def _ruled(
    nights: Sequence[Night],
    rule: RuleName,
    variant: str | None,
    subject: str | None,
    text: Print,
    *,
    against: str | None = "any",
    title: str | None = None,
) -> Trend:
    """Return the trend of one rule's figure; by default against what it was first compared with."""
    found = []
    for night in nights:
        for ruling in night.rules:
            own = (ruling.rule, ruling.variant, ruling.subject) == (rule, variant, subject)
            if own and ruling.value is not None and against in ("any", ruling.against):
                found.append(_point(night, ruling))
                break
    name, detail = title or TITLES[rule], variant or "of the input"
    if rule == "input":
        name, detail = f"Input: {subject}", "stability index"
    if against in ANCHORS:
        detail = f"against {ANCHORS[against].removeprefix('the ')}"
    return Trend(name.replace("_", " "), detail, found, text)


def _point(night: Night, ruling: Ruling) -> Point:
    assert ruling.value is not None  # as whoever asks has seen
    limits = [] if ruling.limit is None else [ruling.limit]
    if ruling.rule == "label_rates":
        limits += [-limit for limit in limits]
    closes = ruling.status == "closes"
    return Point(night.night, ruling.value, ruling.low, ruling.high, tuple(limits), closes)


def _panel(
    axes: Axes, trend: Trend, nights: Sequence[Night], ends: tuple[float, float] | None = None
) -> None:
    first, last = nights[0].night.toordinal(), nights[-1].night.toordinal()
    axes.set_xlim(first - 0.6, last + 0.6)
    axes.set_ylim(*(ends or _height(trend.points)))
    axes.axis("off")
    for night in nights:
        if night.status == "closed":
            at = night.night.toordinal()
            axes.axvspan(at - 0.45, at + 0.45, color=LINE, alpha=0.7, linewidth=0, zorder=0)
    below, above = axes.get_ylim()
    axes.plot([first - 0.6, last + 0.6], [below, below], color=LINE, linewidth=0.8, clip_on=False)
    if below < 0 < above:
        axes.plot([first - 0.6, last + 0.6], [0, 0], color=MUTED, linewidth=0.4, zorder=0)
    _limits(axes, trend.points)
    days = [point.night.toordinal() for point in trend.points]
    values = [point.value for point in trend.points]
    axes.plot(days, values, color=CANDIDATE, linewidth=0.8, alpha=0.6, zorder=1)
    _marks(axes, [point for point in trend.points if not point.closes], CANDIDATE, 3.2)
    _marks(axes, [point for point in trend.points if point.closes], WORSE, 5.5)


def _marks(axes: Axes, found: Sequence[Point], colour: str, size: float) -> None:
    """Draw dots, and their intervals as one path with gaps."""
    days, ends = [], []
    for point in found:
        if point.low is not None and point.high is not None:
            days += [point.night.toordinal()] * 2 + [nan]
            ends += [point.low, point.high, nan]
    axes.plot(days, ends, color=colour, linewidth=1.1, zorder=1)
    days = [point.night.toordinal() for point in found]
    values = [point.value for point in found]
    axes.plot(
        days, values, "o", markerfacecolor=colour, markeredgewidth=0, markersize=size, zorder=2,
        clip_on=False,
    )  # fmt: skip


def _limits(axes: Axes, found: Sequence[Point]) -> None:
    """Draw where the gate closes, as it was on each night."""
    for index in range(max((len(point.limits) for point in found), default=0)):
        some = [point for point in found if len(point.limits) > index]
        days = [point.night.toordinal() for point in some]
        levels = [point.limits[index] for point in some]
        axes.plot(
            [days[0] - 0.6, *days, days[-1] + 0.6], [levels[0], *levels, levels[-1]],
            color=WORSE, linewidth=0.9, linestyle=_LIMIT_DASHES, zorder=1,
        )  # fmt: skip


def _height(found: Sequence[Point]) -> tuple[float, float]:
    values = [
        value
        for point in found
        for value in (point.value, point.low, point.high, *point.limits)
        if value is not None
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low or abs(high) or 1.0) * _ROOM
    return low - room, high + room


def _words(trend: Trend) -> Iterator[tuple[float, str, str]]:
    """Yield what stands at the left of a panel: height, text and colour."""
    last = trend.points[-1]
    limit = f", limit {trend.text(last.limits[0])}" if last.limits else ""
    yield 0.78, short(trend.title), INK
    yield 0.48, short(trend.detail), MUTED
    yield 0.2, f"{trend.text(last.value)}{limit}", MUTED


def _ticks(nights: Sequence[Night]) -> list[date]:
    step = -(-len(nights) // _MOST_TICKS)
    return [night.night for night in nights[:: max(step, 1)]]


def _index(value: Figure) -> str:
    return UNDEFINED if value is None else f"{value:.2f}"
