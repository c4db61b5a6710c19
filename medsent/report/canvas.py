"""What the plots are drawn on: rows under a head, marks, text that starts no formula."""

from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medsent.report.svg import LINE, MUTED

SMALL_PT: Final = 7.5

_WIDTH_IN: Final = 7.6
_TEXT_PT: Final = 9.0
_LONGEST: Final = 24


def mark(axes: Axes, x: float, y: float, face: str, edge: str, size: float) -> None:
    """Draw a dot."""
    axes.plot(
        [x], [y], "o", markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.4,
        markersize=size, zorder=2, clip_on=False,
    )  # fmt: skip


def frame(
    rows: int,
    left_in: float,
    right_in: float,
    top_in: float,
    bottom_in: float = 0.3,
    row_in: float = 0.25,
) -> tuple[Figure, Axes]:
    """Return a figure with axes whose rows are `row_in` inches high, whatever their number."""
    height_in = top_in + row_in * max(rows, 1) + bottom_in
    figure = Figure(figsize=(_WIDTH_IN, height_in))
    box = (
        left_in / _WIDTH_IN,
        bottom_in / height_in,
        1 - (left_in + right_in) / _WIDTH_IN,
        row_in * max(rows, 1) / height_in,
    )
    return figure, figure.add_axes(box)


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
    size: float = _TEXT_PT,
    turn: float = 0.0,
) -> None:
    """Write text as it is: a `$` starts no formula."""
    base: Literal["bottom", "center_baseline"] = "bottom" if turn else "center_baseline"
    axes.text(
        x, y, text, color=colour, size=size, ha=align, va=base, rotation=turn,
        rotation_mode="anchor", parse_math=False, clip_on=False,
    )  # fmt: skip


def short(name: str) -> str:
    """Cut a long name."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
