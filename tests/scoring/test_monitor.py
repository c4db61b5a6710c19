"""What the scorers report: progress, deaths, and when starting again helps no more."""

from typing import Any

import pytest

from medsent.scoring.monitor import Note, Tally


@pytest.fixture
def tally() -> Any:
    """The tally itself, of a pool of two, in no actor."""
    return Tally.__ray_metadata__.modified_class(2)  # type: ignore[attr-defined]


def test_what_is_done_adds_up(tally: Any) -> None:
    for block, records, answers in ((9, 4, 8), (7, 3, 6)):
        tally.done(block, records)
        tally.answered(answers)
    assert (tally.standing().records, tally.standing().answers) == (7, 14)


def test_the_first_failure_stays(tally: Any) -> None:
    tally.fail("EngineError", "first")
    tally.fail("EngineError", "second")
    assert tally.standing().failure == ("EngineError", "first")


def test_a_failed_start_is_forgotten_once_another_works(tally: Any) -> None:
    tally.did_not_start("EngineError", "no memory")
    assert tally.standing().start_failure == ("EngineError", "no memory")
    tally.started("a", 3.0)
    assert tally.standing().start_failure is None
    assert tally.standing().starts_s == {"a": 3.0}


def test_a_scorer_that_does_not_start_waits_for_those_that_may(tally: Any) -> None:
    for name in "ab":
        tally.starting(name)
    assert tally.others_work("a") is None
    assert tally.others_work("b") is False
    tally.starting("c")
    assert tally.others_work("a") is None
    tally.started("c", 3.0)
    assert tally.others_work("a") is True


def test_a_start_that_fails_beside_engines_that_work_is_not_why_a_job_ends(tally: Any) -> None:
    tally.started("node-a", 3.0)
    tally.did_not_start("EngineError", "no memory")
    assert tally.standing().start_failure is None


def test_a_scorer_that_starts_on_another_node_is_still_one(tally: Any) -> None:
    for node in ("here", "there"):
        tally.starting(f"{node}-a")
    assert tally.standing().starting == {"there-a"}
    for node in ("here", "there"):
        tally.started(f"{node}-a", 3.0)
    assert tally.standing().running == 1


def test_a_large_pool_may_lose_all_its_first_engines_twice() -> None:
    tally = Tally.__ray_metadata__.modified_class(8)  # type: ignore[attr-defined]
    assert [tally.starting(str(each % 8)) for each in range(24)] == [None] * 24
    assert tally.starting("0") is not None


def test_a_scorer_that_starts_again_is_noted(tally: Any) -> None:
    assert tally.starting("a") is None
    tally.started("a", 3.0)
    assert tally.standing().notes == []
    assert tally.starting("a") is None
    assert [(note.replica, note.kind) for note in tally.standing().notes] == [("a", "restart")]


def test_starts_are_bounded_by_progress(tally: Any) -> None:
    bound = 2 + 5
    for _ in range(bound):
        assert tally.starting("a") is None
    tally.note(Note("a", "death", 0.0, "killed by SIGKILL"))
    assert tally.starting("a") == (
        "scorers started 8 times without one block of records done between; the last cause: "
        "killed by SIGKILL"
    )
    tally.done(0, 1)
    for _ in range(bound):
        assert tally.starting("a") is None
    assert tally.starting("a") is not None


def test_a_scorer_that_gives_up_is_replaced_once_each(tally: Any) -> None:
    assert [tally.gave_up(name, "killed by SIGKILL") for name in "abc"] == [True, True, False]
    assert tally.standing().failure == ("EngineGoneError", "killed by SIGKILL")


def test_progress_earns_another_replacement(tally: Any) -> None:
    assert [tally.gave_up(name, "killed by SIGKILL") for name in "ab"] == [True, True]
    tally.done(0, 1)
    tally.done(0, 1)
    assert tally.gave_up("c", "killed by SIGKILL")
    assert tally.standing().failure is None


def test_a_block_that_is_scored_again_is_no_progress(tally: Any) -> None:
    tally.done(5, 4)
    for _ in range(7):
        tally.starting("a")
        tally.done(5, 4)
    assert tally.starting("a") is not None
    assert tally.standing().records == 4


def test_draining_lasts(tally: Any) -> None:
    assert not tally.draining()
    tally.drain()
    assert tally.draining()
