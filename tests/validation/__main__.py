"""`make validate-statistics`: do 95% intervals hold the truth, and tests keep their 5%?

Draws samples of a population whose true figures are known, reduces them as a run's
predictions are, and prints how often the intervals that a report would show hold the truth,
and how often its tests find a difference where there is none. Rough: marked so in the report.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

from tests.validation.population import Population, Scenario
from tests.validation.study import Size, Study, Tally

SIZES: Final = (Size(50, 16), Size(200, 16), Size(1000, 16), Size(200, 1), Size(1000, 1))
SCENARIOS: Final[tuple[Scenario, ...]] = ("equal", "biases", "better")
LOWEST, HIGHEST, MOST_FALSE = 93.0, 97.0, 6.0

_AT_A_TIME: Final = 10
_DEAR: Final = 4
"""So many times fewer samples of 16,000 records: each holds as many labels as the others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument("--samples", type=int, default=400, help="of each scenario and size")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    null, every = study(options.samples, options.seed)
    print("\n".join(tables(null, every)))
    print(f"\n{options.samples} samples of each kind, {time.monotonic() - started:.0f} s")
    return 0


def study(samples: int, seed: int, sizes: Sequence[Size] = SIZES) -> tuple[Study, Study]:
    """Return what was seen without a difference, and in all scenarios."""
    null, every = Study(), Study()
    # Each process is one thread: samples are many and small.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for scenario in SCENARIOS:
            for size in sizes:
                wanted = samples // _DEAR if size.opinions * size.readers > 10_000 else samples
                seeds = [
                    range(a, min(a + _AT_A_TIME, wanted)) for a in range(0, wanted, _AT_A_TIME)
                ]
                for found in pool.map(partial(_some, scenario, size, seed), seeds):
                    every.merge(found)
                    if scenario != "better":
                        null.merge(found)
                print(
                    f"{scenario}, {size.opinions} x {size.readers}: done",
                    file=sys.stderr,
                    flush=True,
                )
    return null, every


def _some(scenario: Scenario, size: Size, seed: int, numbers: Sequence[int]) -> Study:
    population, found = Population.of(scenario), Study()
    for number in numbers:
        found.look(population, size, seed * 1_000_003 + number)
    return found


def tables(null: Study, every: Study) -> Iterator[str]:
    """Yield the lines of both tables."""
    yield f"| 95% interval of | holds the truth | +- | of | goal {LOWEST:.0f} to {HIGHEST:.0f}% |"
    yield "|---|--:|--:|--:|---|"
    for name, tally in sorted(every.coverage.items()):
        yield _row(name, tally, _verdict(LOWEST <= tally.share <= HIGHEST, "rough" in name))
    yield ""
    yield f"| test at 5%, no difference | finds one | +- | of | goal at most {MOST_FALSE:.0f}% |"
    yield "|---|--:|--:|--:|---|"
    for name, tally in sorted(null.rejected.items()):
        known = name.startswith(("McNemar", "percentile"))
        verdict = (
            "for comparison" if known else _verdict(tally.share <= MOST_FALSE, "rough" in name)
        )
        yield _row(name, tally, verdict)
    yield ""
    yield "| figure | has an interval | of |"
    yield "|---|--:|--:|"
    for name, tally in sorted(every.shown.items()):
        yield f"| {name} | {tally.share:.1f}% | {tally.of:,} |"


def _row(name: str, tally: Tally, verdict: str) -> str:
    return f"| {name} | {tally.share:.1f}% | {tally.error:.1f} | {tally.of:,} | {verdict} |"


def _verdict(good: bool, rough: bool) -> str:
    return "reached" if good else "rough: no goal" if rough else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
