"""Intervals that hold for several figures at once."""

import numpy as np
import pytest
from scipy import stats

from medsent.metrics.statistics.intervals import Spread, ratio_interval, widened_high


@pytest.mark.parametrize(("value", "opinions"), [(0.3, 40), (0.0, 12), (0.9, 300)])
@pytest.mark.parametrize("number", [1, 16, 21])
def test_a_widened_interval_is_wilsons_at_the_corrected_level(
    value: float, opinions: int, number: int
) -> None:
    se = np.asarray(np.sqrt(value * (1 - value) / opinions))
    many = np.asarray(1e9)
    _, high = ratio_interval(value, Spread(np.asarray(value), se, many), opinions)
    # Bonferroni: the same Wilson form with the quantile of 0.05 / number.
    z = stats.norm.ppf(1 - 0.025 / number)
    size = opinions
    middle = value + z**2 / (2 * size)
    root = z * np.sqrt(value * (1 - value) / size + z**2 / (4 * size**2))
    assert widened_high(value, float(high), number) == pytest.approx(
        (middle + root) / (1 + z**2 / size), rel=1e-6
    )


def test_an_end_that_cannot_be_widened_is_kept() -> None:
    assert widened_high(1.0, 1.0, 21) == 1.0
    assert widened_high(0.4, 0.4, 21) == 0.4
