"""What the plots are drawn on: rows under a head, marks, text that starts no formula."""

import unicodedata
import warnings
from functools import cache
from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.transforms import Transform

from medsent.report.plots.svg import LINE, MUTED

TEXT_PT: Final = 9.0
SMALL_PT: Final = 7.5

WIDTH_IN: Final = 7.6
_LONGEST: Final = 24
_MEASURE: Final = TextToPath()


def mark(
    axes: Axes,
    x: float,
    y: float,
    face: str,
    edge: str,
    size: float,
    width: float = 1.4,
    alpha: float | None = None,
) -> None:
    """Draw a dot."""
    axes.plot(
        [x], [y], "o", markerfacecolor=face, markeredgecolor=edge, markeredgewidth=width,
        markersize=size, alpha=alpha, zorder=2, clip_on=False,
    )  # fmt: skip


def frame(
    rows: int,
    left_in: float,
    right_in: float,
    top_in: float,
    bottom_in: float = 0.3,
    row_in: float = 0.25,
    width_in: float = WIDTH_IN,
) -> tuple[Figure, Axes]:
    """Return a figure with axes whose rows are `row_in` inches high, whatever their number."""
    height_in = top_in + row_in * max(rows, 1) + bottom_in
    figure = Figure(figsize=(width_in, height_in))
    box = (
        left_in / width_in,
        bottom_in / height_in,
        1 - (left_in + right_in) / width_in,
        row_in * max(rows, 1) / height_in,
    )
    return figure, figure.add_axes(box)


def panels(number: int, columns: int, height: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Return axes in rows, with room for a name above each and for ticks around it.

    `height` is each one's, by its width.
    """
    left_in, right_in, gap_in, above_in, below_in = 0.2, 0.1, 0.3, 0.28, 0.22
    rows = -(-number // columns)
    side_in = (WIDTH_IN - left_in - right_in - gap_in * (columns - 1)) / columns
    high_in = side_in * height
    row_in = above_in + high_in + below_in
    figure = Figure(figsize=(WIDTH_IN, rows * row_in))
    boxes = [
        (
            (left_in + column * (side_in + gap_in)) / WIDTH_IN,
            1 - ((row + 1) * row_in - below_in) / (rows * row_in),
            side_in / WIDTH_IN,
            high_in / (rows * row_in),
        )
        for row, column in (divmod(index, columns) for index in range(number))
    ]
    return figure, [figure.add_axes(box) for box in boxes]


def stack(number: int) -> tuple[Figure, list[Axes]]:
    """Return axes above each other, with room for names at the left and for ticks below."""
    left_in, right_in, row_in, panel_in, below_in = 1.75, 0.25, 0.85, 0.7, 0.25
    height_in = number * row_in + below_in
    figure = Figure(figsize=(WIDTH_IN, height_in))
    boxes = [
        (
            left_in / WIDTH_IN,
            1 - ((row + 1) * row_in) / height_in,
            1 - (left_in + right_in) / WIDTH_IN,
            panel_in / height_in,
        )
        for row in range(number)
    ]
    return figure, [figure.add_axes(box) for box in boxes]


def percent_axis(axes: Axes, rows: int) -> None:
    """Draw the grid of a share from 0 to 100% behind so many rows."""
    axes.set_xlim(0, 1)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.axis("off")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        axes.plot([share, share], [-0.5, rows - 0.5], color=LINE, linewidth=0.6, zorder=0)
        write(axes, share, rows, f"{100 * share:.0f}%", MUTED, align="center", size=SMALL_PT)


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    colour: str,
    align: Literal["left", "center", "right"] = "left",
    size: float = TEXT_PT,
    turn: float = 0.0,
    within: Transform | None = None,
) -> None:
    """Write text as it is: a `$` starts no formula. `within`: other coordinates than the data's."""
    base: Literal["bottom", "center_baseline"] = "bottom" if turn else "center_baseline"
    axes.text(
        x, y, text, color=colour, size=size, ha=align, va=base, rotation=turn,
        rotation_mode="anchor", parse_math=False, clip_on=False,
        transform=axes.transData if within is None else within,
    )  # fmt: skip


def short(name: str) -> str:
    """Cut a long name."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def fitted(text: str, room_in: float, size: float = TEXT_PT) -> str:
    """Cut a text to so many inches."""
    if width_in(text, size) <= room_in:
        return text
    kept = next(n for n in range(len(text), -1, -1) if width_in(f"{text[:n]}…", size) <= room_in)
    return f"{text[:kept]}…"


@cache
def width_in(text: str, size: float = TEXT_PT) -> float:
    """Return how wide a text is, in inches, in a wide font; the reader's own is hardly wider."""
    # The font lacks the letters of some scripts: full-width ones are as wide as a W.
    known = "".join("W" if unicodedata.east_asian_width(each) in "WF" else each for each in text)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        width, _, _ = _MEASURE.get_text_width_height_descent(
            known, FontProperties(family="DejaVu Sans", size=size), ismath=False
        )
    return float(width) / 72
