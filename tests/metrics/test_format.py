"""Figures as they are shown: rounded honestly, with a dash where there is none."""

import pytest

from medsent.metrics.format import percent, seconds
from medsent.metrics.model import Change
from medsent.report.tables.cells import relative_cell


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0.0, "0.0%"),
        (0.0004, "<0.1%"),
        (0.6725, "67.2%"),
        (0.9999, ">99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_percent(share: float | None, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (None, "–"),
        (0.0, "0 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (7.28, "7.28 s"),
        (11.966, "12.0 s"),
        (598.3, "9 min 58 s"),
        (7199.7, "2 h 00 min"),
    ],
)
def test_seconds(duration: float | None, shown: str) -> None:
    assert seconds(duration) == shown


@pytest.mark.parametrize(
    ("baseline", "candidate", "relative", "kind", "shown"),
    [
        (0.2, 0.3, 0.5, "from_10_to_50", "+50.0%"),
        (0.3, 0.2, -1 / 3, "worse", "−33.3%"),
        (0.0, 0.5, None, "from_zero", "from zero"),
        (0.0, 0.0, None, "unchanged", "0.0%"),
        (None, 0.5, None, "undefined", "–"),
    ],
)
def test_relative_improvement(
    baseline: float | None, candidate: float, relative: float | None, kind: str, shown: str
) -> None:
    change = Change.model_validate(
        {
            "baseline": baseline,
            "candidate": candidate,
            "difference": None if baseline is None else {"value": candidate - baseline},
            "relative": None if relative is None else {"value": relative},
            "kind": kind,
        }
    )
    assert relative_cell(change).text == shown
