"""`make validate-statistics`: do 95% intervals hold the truth, and tests keep their 5%?

Draws samples of a population whose true figures are known, reduces them as a run's
predictions are, and prints how often the intervals that a report would show hold the truth,
and how often its tests find a difference where there is none. Rough: marked so in the report.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from tests.validation.simulation import SIZES, study
from tests.validation.study import Size, Study, Tally

LOWEST, HIGHEST, MOST_FALSE = 93.0, 97.0, 6.0

_SHORT: Final = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables; return 1 where a goal was missed beyond chance."""
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument(
        "--samples", "--simulations", type=int, default=400, help="of each scenario and size"
    )
    parser.add_argument("--short", action="store_true", help=f"{_SHORT} samples, 400 replicates")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    samples, sizes = (_SHORT, _fewer(SIZES)) if options.short else (options.samples, SIZES)
    null, every = study(samples, options.seed, sizes)
    lines = list(tables(null, every))
    print("\n".join(lines))
    print(f"\n{samples} samples of each kind, {time.monotonic() - started:.0f} s")
    return int(any("| MISSED |" in line for line in lines))


def _fewer(sizes: Sequence[Size]) -> list[Size]:
    return [Size(size.opinions, size.readers, replicates=400) for size in sizes]


def tables(null: Study, every: Study) -> Iterator[str]:
    """Yield the lines of both tables."""
    goal = f"goal {LOWEST:.0f} to {HIGHEST:.0f}%"
    yield f"| 95% interval of | holds the truth | +- | of | {goal} | by size, lowest to highest |"
    yield "|---|--:|--:|--:|---|---|"
    for name, tally in sorted(every.coverage.items()):
        over = max(LOWEST - tally.share, tally.share - HIGHEST)
        yield _row(name, tally, _verdict(over, tally, "rough" in name), every)
    yield ""
    goal = f"goal at most {MOST_FALSE:.0f}%"
    yield f"| test at 5%, no difference | finds one | +- | of | {goal} | by size |"
    yield "|---|--:|--:|--:|---|---|"
    for name, tally in sorted(null.rejected.items()):
        known = name.startswith(("McNemar", "percentile"))
        over = tally.share - MOST_FALSE
        verdict = "for comparison" if known else _verdict(over, tally, "rough" in name)
        yield _row(name, tally, verdict, null)
    yield ""
    yield "| figure | has an interval | of |"
    yield "|---|--:|--:|"
    for name, tally in sorted(every.shown.items()):
        yield f"| {name} | {tally.share:.1f}% | {tally.of:,} |"


def _row(name: str, tally: Tally, verdict: str, study: Study) -> str:
    sizes = sorted(study.sizes(name).items(), key=lambda item: item[1].share)
    ends = " to ".join(
        f"{t.share:.1f} +- {t.error:.1f} ({size})"
        for size, t in dict((sizes[0], sizes[-1])).items()
    )
    numbers = f"{tally.share:.1f}% | {tally.error:.1f} | {tally.of:,}"
    return f"| {name} | {numbers} | {verdict} | {ends} |"


def _verdict(over: float, tally: Tally, rough: bool) -> str:
    """Judge by how many points the goal was missed; not above 0 is reached."""
    if over <= 0:
        return "reached"
    missed = "MISSED, by less than 2 errors" if over < 2 * tally.error else "MISSED"
    return f"rough, no goal ({missed})" if rough else missed


if __name__ == "__main__":
    sys.exit(main())
