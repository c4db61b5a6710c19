"""What the scorers report: progress, deaths, and when starting again helps no more."""

from typing import Any

import pytest

from medsent.engine.events import EventKind
from medsent.scoring.monitor import EngineEvent, Monitor


@pytest.fixture
def monitor() -> Any:
    """The monitor itself, of a pool of two, in no actor."""
    return Monitor.__ray_metadata__.modified_class(2)  # type: ignore[attr-defined]


def test_what_is_done_adds_up(monitor: Any) -> None:
    for block, records, answers in ((9, 4, 8), (7, 3, 6)):
        monitor.done(block, records)
        monitor.answered(answers)
    assert (monitor.status().records, monitor.status().answers) == (7, 14)


def test_the_first_failure_stays(monitor: Any) -> None:
    monitor.fail("EngineError", "first")
    monitor.fail("EngineError", "second")
    assert monitor.status().failure == ("EngineError", "first")


def test_a_failed_start_is_forgotten_once_another_works(monitor: Any) -> None:
    monitor.did_not_start("EngineError", "no memory")
    assert monitor.status().start_failure == ("EngineError", "no memory")
    monitor.started("a", 3.0)
    assert monitor.status().start_failure is None
    assert monitor.status().starts_s == {"a": 3.0}


def test_a_scorer_that_does_not_start_waits_for_those_that_may(monitor: Any) -> None:
    for name in "ab":
        monitor.starting(name)
    assert monitor.others_work("a") is None
    assert monitor.others_work("b") is False
    monitor.starting("c")
    assert monitor.others_work("a") is None
    monitor.started("c", 3.0)
    assert monitor.others_work("a") is True


def test_a_start_that_fails_beside_engines_that_work_is_not_why_a_job_ends(monitor: Any) -> None:
    monitor.started("node-a", 3.0)
    monitor.did_not_start("EngineError", "no memory")
    assert monitor.status().start_failure is None


def test_a_scorer_that_starts_on_another_node_is_still_one(monitor: Any) -> None:
    for node in ("here", "there"):
        monitor.starting(f"{node}-a")
    assert monitor.status().starting == {"there-a"}
    for node in ("here", "there"):
        monitor.started(f"{node}-a", 3.0)
    assert monitor.status().running == 1


def test_a_large_pool_may_lose_all_its_first_engines_twice() -> None:
    monitor = Monitor.__ray_metadata__.modified_class(8)  # type: ignore[attr-defined]
    assert [monitor.starting(str(each % 8)) for each in range(24)] == [None] * 24
    assert monitor.starting("0") is not None


def test_a_scorer_that_starts_again_is_noted(monitor: Any) -> None:
    assert monitor.starting("a") is None
    monitor.started("a", 3.0)
    assert monitor.status().notes == []
    assert monitor.starting("a") is None
    assert [(note.replica, note.kind) for note in monitor.status().notes] == [("a", "restart")]


def test_starts_are_bounded_by_progress(monitor: Any) -> None:
    bound = 2 + 5
    for _ in range(bound):
        assert monitor.starting("a") is None
    monitor.note(EngineEvent(EventKind.DEATH, 0.0, "killed by SIGKILL", "a"))
    assert monitor.starting("a") == (
        "scorers started 8 times without one block of records done between; the last cause: "
        "killed by SIGKILL"
    )
    monitor.done(0, 1)
    for _ in range(bound):
        assert monitor.starting("a") is None
    assert monitor.starting("a") is not None


def test_a_scorer_that_gives_up_is_replaced_once_each(monitor: Any) -> None:
    assert [monitor.gave_up(name, "killed by SIGKILL") for name in "abc"] == [True, True, False]
    assert monitor.status().failure == ("EngineGoneError", "killed by SIGKILL")


def test_progress_earns_another_replacement(monitor: Any) -> None:
    assert [monitor.gave_up(name, "killed by SIGKILL") for name in "ab"] == [True, True]
    monitor.done(0, 1)
    monitor.done(0, 1)
    assert monitor.gave_up("c", "killed by SIGKILL")
    assert monitor.status().failure is None


def test_a_block_that_is_scored_again_is_no_progress(monitor: Any) -> None:
    monitor.done(5, 4)
    for _ in range(7):
        monitor.starting("a")
        monitor.done(5, 4)
    assert monitor.starting("a") is not None
    assert monitor.status().records == 4


def test_draining_lasts(monitor: Any) -> None:
    assert not monitor.draining()
    monitor.drain()
    assert monitor.draining()
