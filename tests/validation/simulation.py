"""Samples of every population, scenario and size, over all cores.

A module of its own, since a spawned process does not import a package's `__main__` again.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias, TypeVar

from tests.validation import deciding, drifting
from tests.validation.deciding import Decided
from tests.validation.drifting import Fresh
from tests.validation.multilevel import Multilevel
from tests.validation.population import Population, Scenario
from tests.validation.study import Size, Study
from tests.validation.tally import Tallies, merge, tallies

Name: TypeAlias = Literal["probit", "multilevel"]
T = TypeVar("T")
Work = TypeVar("Work")

SIZES: Final[dict[Name, tuple[Size, ...]]] = {
    "probit": (
        Size(15, 16),
        Size(50, 16),
        Size(200, 16),
        Size(1000, 16),
        Size(200, 1),
        Size(1000, 1),
    ),
    "multilevel": (Size(60, 0), Size(150, 0), Size(400, 0), Size(1500, 0)),
}
SCENARIOS: Final[dict[Name, tuple[Scenario, ...]]] = {
    "probit": ("equal", "biases", "better"),
    "multilevel": ("equal", "alike", "biases", "better"),
}

_AT_A_TIME: Final = 10
_DEAR: Final = 4
"""So many times fewer samples of 16,000 records: each holds as many labels as the others."""


@dataclass
class Seen:
    """What was seen of one population: where nothing differs, by kind of that, and in all."""

    null: Study = field(default_factory=Study)
    nulls: dict[Scenario, Study] = field(default_factory=dict)
    every: Study = field(default_factory=Study)


def study(name: Name, samples: int, seed: int, sizes: Sequence[Size]) -> Seen:
    """Return what so many samples of each scenario and size show."""
    seen = Seen()
    work = list(_work(name, samples, sizes))
    for (_, scenario, *_), found in _spread(partial(_some, seed), work):
        seen.every.merge(found)
        if scenario != "better":
            seen.null.merge(found)
            seen.nulls.setdefault(scenario, Study()).merge(found)
    return seen


def drift(samples: int, seed: int) -> Tallies:
    """Return how often runs of each size raise an alarm."""
    found = tallies()
    work = [(fresh, number) for number in range(-(-samples // 10)) for fresh in drifting.SIZES]
    for _, some in _spread(partial(_alarms, seed), work):
        merge(found, some)
    return found


def decisions(samples: int, seed: int) -> Decided:
    """Return what is decided of candidates of each kind, by samples of each size."""
    found = Decided()
    work = [
        (scenario, opinions, range(first, min(first + _AT_A_TIME, samples)))
        for scenario in deciding.SCENARIOS
        for opinions in deciding.SIZES
        for first in range(0, samples, _AT_A_TIME)
    ]
    for _, some in _spread(partial(_decided, seed), work):
        found.merge(some)
    return found


def _spread(task: Callable[[Work], T], work: Sequence[Work]) -> Iterator[tuple[Work, T]]:
    """Yield each piece of work with what came of it, from all cores."""
    # Each process is one thread: samples are many and small. Spawned, so that NumPy sees it.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as pool:
        for done, found in enumerate(zip(work, pool.map(task, work), strict=True), 1):
            yield found
            if done % 20 == 0 or done == len(work):
                print(f"{done} of {len(work)} parts", file=sys.stderr, flush=True)


def _work(
    name: Name, samples: int, sizes: Sequence[Size]
) -> Iterator[tuple[Name, Scenario, Size, range]]:
    """Yield what one process does at a time: the numbers of some samples of one kind."""
    for scenario in SCENARIOS[name]:
        for size in sizes:
            wanted = samples // _DEAR if size.opinions * size.readers > 10_000 else samples
            for first in range(0, wanted, _AT_A_TIME):
                yield name, scenario, size, range(first, min(first + _AT_A_TIME, wanted))


def _some(seed: int, work: tuple[Name, Scenario, Size, range]) -> Study:
    name, scenario, size, numbers = work
    population = (Population if name == "probit" else Multilevel).of(scenario)
    found = Study()
    for number in numbers:
        found.look(population, size, seed * 1_000_003 + number)
    return found


def _decided(seed: int, work: tuple[Scenario, int, range]) -> Decided:
    scenario, opinions, numbers = work
    found = Decided()
    for number in numbers:
        found.merge(deciding.decided(scenario, opinions, seed * 1_000_003 + number))
    return found


def _alarms(seed: int, work: tuple[Fresh, int]) -> Tallies:
    fresh, number = work
    return drifting.alarms(fresh, seed * 1_000_003 + number)
