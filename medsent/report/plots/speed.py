"""The plots of speed: rates and latencies by variant, their spread and their course."""

import math
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from medsent.metrics.format import UNDEFINED, counted, rate, seconds
from medsent.metrics.model import Metrics
from medsent.metrics.throughput import LatencyHistogram, RateOverTime, Throughput, VariantThroughput
from medsent.report.document import Plot
from medsent.report.plots.canvas import SMALL_PT, TEXT_PT, frame, mark, short, stack, write
from medsent.report.plots.svg import BASELINE, CANDIDATE, INK, LINE, MUTED, inline

_LATENCY_FROM: Final = 0.5
_BAR: Final = 0.26
_MOST_TICKS: Final = 8
_STEPS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200,
                   1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800)  # fmt: skip


def speed(metrics: Metrics, name: str) -> Plot:
    """Draw records per second, and latency from the median to the 99th percentile, by variant."""
    speeds = _timed(metrics)
    fastest = max((each.records_per_s or 0.0 for each in speeds.values()), default=0.0)
    slowest = max((each.latency_p99_s or 0.0 for each in speeds.values()), default=0.0)
    figure, axes = frame(
        rows=len(speeds), left_in=1.75, right_in=0.1, top_in=0.4, bottom_in=0.05, row_in=0.3
    )
    for row, (variant, each) in enumerate(speeds.items()):
        colour = _colour(metrics, variant)
        write(axes, -0.02, row, short(variant), INK, align="right")
        _rate_bar(axes, row, each, fastest, colour)
        _latency_line(axes, row, each, slowest, colour)
    write(axes, 0.0, -1.0, "Records per second, one replica", MUTED, size=SMALL_PT)
    write(axes, _LATENCY_FROM, -1.0, "Latency: median, p95, p99", MUTED, size=SMALL_PT)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(speeds) - 0.5, -0.5)
    axes.axis("off")
    told = "; ".join(
        f"{variant}: {rate(each.records_per_s)} records per second, median latency "
        f"{seconds(each.latency_p50_s)}"
        for variant, each in speeds.items()
    )
    caption = "Rate, and latency from the median (dot) over p95 to p99 (ticks), by variant."
    return Plot(inline(figure, name, f"Throughput. {told}."), caption)


def _rate_bar(axes: Axes, row: int, each: Throughput, fastest: float, colour: str) -> None:
    width = _BAR * (each.records_per_s or 0.0) / fastest if fastest else 0.0
    axes.barh([row], [width], height=0.42, color=colour)
    write(axes, width + 0.015, row, rate(each.records_per_s), INK)


def _latency_line(axes: Axes, row: int, each: Throughput, slowest: float, colour: str) -> None:
    values = (each.latency_p50_s, each.latency_p95_s, each.latency_p99_s)
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not slowest:
        write(axes, _LATENCY_FROM, row, UNDEFINED, MUTED)
        return
    median, p95, p99 = (_LATENCY_FROM + _BAR * value / slowest for value in known)
    axes.plot([median, p99], [row, row], color=colour, linewidth=1.6)
    axes.plot([p95, p99], [row, row], "|", color=colour, markersize=9, markeredgewidth=1.6)
    mark(axes, median, row, face=colour, edge=colour, size=6.0)
    told = " · ".join(seconds(value) for value in known)
    write(axes, p99 + 0.02, row, told, INK, size=SMALL_PT)


def latency(metrics: Metrics, name: str) -> Plot | None:
    """Draw each variant's latency histogram, across on a logarithmic scale; None without any."""
    found = {
        variant: each.latency_histogram
        for variant, each in _timed(metrics).items()
        if each.latency_histogram is not None
    }
    if not found:
        return None
    low = math.log10(min(each.edges_s[0] for each in found.values()))
    high = math.log10(max(each.edges_s[-1] for each in found.values()))
    figure, axes = stack(len(found))
    for panel, (variant, each) in zip(axes, found.items(), strict=True):
        _histogram(panel, each, _colour(metrics, variant))
        _row(panel, variant, f"tallest: {counted(max(each.records), 'record')}")
        panel.set_xlim(low, high)
        _grid(panel, [math.log10(tick) for tick in _log_ticks(low, high)])
    for tick in _log_ticks(low, high):
        write(axes[-1], math.log10(tick), -0.17, clock(tick), MUTED, "center", size=SMALL_PT)
    about = "; ".join(
        f"{variant}: {seconds(each.edges_s[0])} to {seconds(each.edges_s[-1])}"
        for variant, each in found.items()
    )
    caption = (
        "Records by latency, by variant, each as high as its own tallest bar. Across, the time "
        "from sending a record to its answer; each step is the same factor."
    )
    return Plot(inline(figure, name, f"Latency histograms. {about}."), caption, define="latency")


def course(metrics: Metrics, name: str) -> Plot | None:
    """Draw records per second over the run, one row a variant; None where nothing was timed."""
    found = {
        variant: each.rate_over_time
        for variant, each in _timed(metrics).items()
        if each.rate_over_time is not None
    }
    if not found:
        return None
    fastest = max(max(each.records_per_s) for each in found.values())
    end = max(each.start_s[-1] + each.width_s for each in found.values())
    figure, axes = stack(len(found))
    for panel, (variant, each) in zip(axes, found.items(), strict=True):
        _steps(panel, each, fastest, _colour(metrics, variant))
        _row(panel, variant, f"top of scale: {rate(fastest)}/s")
        panel.set_xlim(0, end)
        _grid(panel, _time_ticks(end))
    ticks = _time_ticks(end)
    for tick in ticks:
        write(axes[-1], tick, -0.17, clock(tick, ticks[1]), MUTED, "center", size=SMALL_PT)
    width = next(iter(found.values())).width_s
    caption = (
        f"Records per second over the run, by variant on one scale, all replicas together, each "
        f"step {seconds(width)} of wall-clock time. A gap is time in which no record of the "
        "variant came back; the first and the last step may be partly outside the run."
    )
    about = f"Records per second over {seconds(end)}, at most {rate(fastest)}"
    return Plot(inline(figure, name, f"{about}."), caption, define="rates")


def _timed(metrics: Metrics) -> dict[str, VariantThroughput]:
    return {
        variant: figures.throughput
        for variant, figures in metrics.variants.items()
        if figures.throughput is not None
    }


def _colour(metrics: Metrics, variant: str) -> str:
    bases = {pair.baseline for pair in metrics.comparisons}
    return BASELINE if variant in bases else CANDIDATE


def _histogram(axes: Axes, found: LatencyHistogram, colour: str) -> None:
    heights = np.array(found.records) / max(found.records)
    axes.stairs(heights, np.log10(found.edges_s), fill=True, color=colour, linewidth=0)


def _steps(axes: Axes, found: RateOverTime, fastest: float, colour: str) -> None:
    heights = np.array(found.records_per_s) / fastest
    edges = [*found.start_s, found.start_s[-1] + found.width_s]
    axes.stairs(heights, edges, fill=True, color=colour, linewidth=0)


def _row(axes: Axes, variant: str, detail: str) -> None:
    """Name a panel of the stack at its left."""
    axes.set_ylim(0, 1)
    axes.axis("off")
    left = axes.get_yaxis_transform()
    for height, text, colour in ((0.62, short(variant), INK), (0.3, detail, MUTED)):
        size = SMALL_PT if colour == MUTED else TEXT_PT
        write(axes, -0.02, height, text, colour, align="right", size=size, within=left)


def _grid(axes: Axes, ticks: list[float]) -> None:
    for tick in ticks:
        axes.plot([tick, tick], [0, 1], color=LINE, linewidth=0.6, zorder=0)
    low, high = axes.get_xlim()
    axes.plot([low, high], [0, 0], color=LINE, linewidth=0.8, zorder=2, clip_on=False)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 of each power of ten between two powers, or the powers if many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1, 2, 5), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks


def _time_ticks(end: float) -> list[float]:
    step = next((step for step in _STEPS_S if end / step < _MOST_TICKS), end)
    return [index * step for index in range(int(end / step) + 1)]


def clock(duration: float, step: float | None = None) -> str:
    """Print a round time as a tick of an axis, in the unit that suits it, or the axis' step."""
    if duration == 0:
        return "0"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))
    size, unit = next((each for each in units if (step or duration) >= each[0]), units[-1])
    return f"{duration / size:.3g} {unit}"
