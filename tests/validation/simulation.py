"""Samples of every scenario and size, over all cores.

A module of its own, since a spawned process does not import a package's `__main__` again.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

from tests.validation.population import Population, Scenario
from tests.validation.study import Size, Study

SIZES: Final = (
    Size(15, 16),
    Size(50, 16),
    Size(200, 16),
    Size(1000, 16),
    Size(200, 1),
    Size(1000, 1),
)
SCENARIOS: Final[tuple[Scenario, ...]] = ("equal", "biases", "better")

_AT_A_TIME: Final = 10
_DEAR: Final = 4
"""So many times fewer samples of 16,000 records: each holds as many labels as the others."""


def study(samples: int, seed: int, sizes: Sequence[Size] = SIZES) -> tuple[Study, Study]:
    """Return what was seen without a difference, and in all scenarios."""
    null, every = Study(), Study()
    # Each process is one thread: samples are many and small. Spawned, so that NumPy sees it.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    work = list(_work(samples, sizes))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as pool:
        for done, (each, found) in enumerate(
            zip(work, pool.map(partial(_some, seed), work), strict=True), 1
        ):
            every.merge(found)
            if each[0] != "better":
                null.merge(found)
            print(f"{done} of {len(work)} parts", file=sys.stderr, flush=True)
    return null, every


def _work(samples: int, sizes: Sequence[Size]) -> Iterator[tuple[Scenario, Size, range]]:
    """Yield what one process does at a time: the numbers of some samples of one kind."""
    for scenario in SCENARIOS:
        for size in sizes:
            wanted = samples // _DEAR if size.opinions * size.readers > 10_000 else samples
            for first in range(0, wanted, _AT_A_TIME):
                yield scenario, size, range(first, min(first + _AT_A_TIME, wanted))


def _some(seed: int, work: tuple[Scenario, Size, range]) -> Study:
    scenario, size, numbers = work
    population, found = Population.of(scenario), Study()
    for number in numbers:
        found.look(population, size, seed * 1_000_003 + number)
    return found
