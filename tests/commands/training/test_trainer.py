"""Progress by steps or by minutes, and the rate over it."""

from pathlib import Path

import pytest

from medsent.commands.training.checkpoints import Checkpoint
from medsent.commands.training.trainer import Budget, warmup_cosine


def test_rate_rises_and_falls_to_zero() -> None:
    rates = [warmup_cosine(progress / 100, 0.1) for progress in range(101)]
    assert rates[10] == 1.0 == max(rates)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[0] > 0
    assert rates[100] == pytest.approx(0)


def test_without_minutes_only_steps_count() -> None:
    budget = Budget(8, None)
    budget.resume(Checkpoint(Path("c"), 4, seconds=1e9))
    assert budget.progress(4) == 0.5
    assert budget.progress(9) == 1.0


def test_minutes_of_earlier_sittings_count() -> None:
    budget = Budget(1000, minutes=10)
    budget.resume(Checkpoint(Path("c"), 4, seconds=600.0))
    assert budget.progress(4) == 1.0
    budget.resume(None)
    assert budget.progress(500) == 0.5
