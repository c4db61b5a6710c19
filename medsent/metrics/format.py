"""Numbers as a reader sees them. The exact ones are in `metrics.json`.

Shares are printed in percent with one decimal, differences of shares in percentage
points, times in the unit that suits them. What is undefined is a dash, never a zero.
"""

import math
from typing import Final

from medsent.metrics.estimate import Estimate
from medsent.metrics.model import Change

UNDEFINED: Final = "–"
FROM_ZERO: Final = "from zero"
MINUS: Final = "−"


def percent(share: float | None) -> str:
    """Print a share of 0 to 1 in percent; only exact values give 0.0% or 100.0%."""
    if share is None:
        return UNDEFINED
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%".replace("-", MINUS)


def points(difference: float | None) -> str:
    """Print a difference of two shares in percentage points, signed, without a unit."""
    return UNDEFINED if difference is None else _signed(100 * difference)


def relative(change: Change) -> str:
    """Print a relative improvement in percent; a change from zero has none and says so."""
    if change.kind == "from_zero":
        return FROM_ZERO
    if change.kind == "unchanged":
        return "0.0%"
    return UNDEFINED if change.relative is None else f"{_signed(100 * change.relative.value)}%"


def share_interval(figure: Estimate) -> str | None:
    """Print the interval of a share, in percent without the sign; None where there is none."""
    if figure.low is None or figure.high is None:
        return None
    return f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"


def signed_interval(figure: Estimate | None) -> str | None:
    """Print the interval of a difference, in points or in percent."""
    if figure is None or figure.low is None or figure.high is None:
        return None
    return f"{_signed(100 * figure.low)} to {_signed(100 * figure.high)}"


def p_value(p: float | None) -> str:
    """Print a p-value to three decimals."""
    if p is None:
        return UNDEFINED
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def decimals(value: float) -> str:
    """Print a figure between 0 and 1 that is no share, to three decimals."""
    return f"{value:.3f}"


def count(number: int) -> str:
    """Print a whole number with commas between thousands."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Print a number with its noun, in the plural with an s where it is not 1."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def seconds(duration: float | None) -> str:
    """Print a time: milliseconds below one second, minutes from 100 s, hours from 2 h."""
    if duration is None:
        return UNDEFINED
    if duration < 0.9995:
        return f"{significant(1000 * duration)} ms"
    if duration < 99.95:
        return f"{significant(duration)} s"
    whole = round(duration)
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(duration / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def rate(per_second: float | None) -> str:
    """Print a rate with three significant digits, whole from 100."""
    return UNDEFINED if per_second is None else significant(per_second)


def significant(value: float) -> str:
    """Print a number of 0 or more with three significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(value))
    rounded = round(value, digits)
    decimals = max(0, 2 - math.floor(math.log10(rounded)))
    return f"{rounded if decimals else round(value):,.{decimals}f}"


def _signed(value: float) -> str:
    if value == 0:
        return "0.0"
    return f"{'+' if value > 0 else MINUS}{abs(value):,.1f}"
