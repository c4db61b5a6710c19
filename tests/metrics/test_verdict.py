"""The three verdicts, by the interval of a difference and a margin."""

import pytest

from medsent.config.job import StatisticsSettings
from medsent.metrics.verdict import Decision, Judged, Margins, decide


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-0.01, 0.03, "ship"),
        (0.05, 0.09, "ship"),
        (-0.02, 0.0, "ship"),  # the margin itself
        (-0.03, 0.01, "cannot_tell"),
        (-0.09, -0.02, "cannot_tell"),
        (-0.09, -0.03, "block"),
        (None, None, "cannot_tell"),
    ],
)
def test_the_whole_interval_decides(low: float | None, high: float | None, told: Decision) -> None:
    assert decide(low, high, 0.02) == told


def test_a_label_has_its_own_margin_or_that_of_all() -> None:
    margins = Margins.of(StatisticsSettings(margin=0.01, label_margins={"anger": 0.05}))
    assert (margins.overall, margins.of_label("anger"), margins.of_label("joy")) == (
        0.01,
        0.05,
        0.02,
    )
    assert Margins.of(StatisticsSettings(label_margin=None)).of_label("joy") is None


@pytest.mark.parametrize(
    ("low", "high", "lower"), [(-0.05, -0.01, True), (-0.05, 0.01, False), (-0.01, -0.005, False)]
)
def test_what_is_worse_beyond_chance_and_perhaps_by_too_much(
    low: float, high: float, lower: bool
) -> None:
    found = Judged(decision=decide(low, high, 0.02), margin=0.02, low=low, high=high)
    assert found.lower is lower
