"""What the parts of `metrics.json` are made of: strict models, and figures with intervals."""

import math
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from medsent.metrics.statistics.estimates import NoInterval

T = TypeVar("T")

Figure: TypeAlias = float | None
"""A figure, or None where it is undefined."""


class Part(BaseModel):
    """Unknown keys are errors, NaN and infinity are no figures, nothing changes once made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Estimate(Part):
    """A figure with its 95% interval, or why it has none."""

    value: float
    """The figure on these records."""
    low: Figure = None
    """Lower end, for all opinions like these read by the same personas."""
    high: Figure = None
    """Upper end."""
    rough: bool = False
    """Made from 10 to 19 opinions: it may cover less than it says."""
    no_interval: NoInterval | None = None
    """Why there is no interval."""


Estimated: TypeAlias = Estimate | None
"""A figure with its interval, or None where it is undefined."""


def is_none(value: object) -> bool:
    """Return whether a field is left out of the file: for `exclude_if`."""
    return value is None


def value_of(figure: Estimated) -> Figure:
    """Return a figure without its interval."""
    return None if figure is None else figure.value


def defined(value: T) -> T | None:
    """Return a figure with None for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def over(part: float, whole: float) -> Figure:
    """Return a share or a rate; None where there is nothing to divide by."""
    return part / whole if whole else None
