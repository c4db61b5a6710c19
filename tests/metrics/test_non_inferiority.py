"""When a variant is as good as another."""

import pytest

from medsent.metrics.non_inferiority import non_inferior


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-0.01, 0.03, True),
        (0.05, 0.09, True),
        (-0.02, 0.0, True),  # the margin itself
        (-0.03, 0.01, None),
        (-0.09, -0.02, None),
        (-0.09, -0.03, False),
        (None, None, None),
    ],
)
def test_the_whole_interval_decides(
    low: float | None, high: float | None, told: bool | None
) -> None:
    assert non_inferior(low, high, 0.02) is told
