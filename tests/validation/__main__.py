"""`make validate-statistics`: do 95% intervals hold the truth, and tests keep their 5%?

Draws samples of two populations whose true figures are known, reduces them as a run's
predictions are, and prints how often the intervals that a report would show hold the truth,
and how often its tests find a difference where there is none; then how often drift is alarmed
at on unchanged data, and how often a candidate is to be shipped or blocked. Rough: marked so in
the report.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tests.validation import deciding
from tests.validation.deciding import ANY, KINDS, Decided
from tests.validation.drifting import MOVED, REFERENCE
from tests.validation.drifting import SIZES as FRESH
from tests.validation.simulation import SIZES, Seen, decisions, drift, study
from tests.validation.study import Size, Study
from tests.validation.tally import Tallies, Tally

LOWEST, HIGHEST, MOST_FALSE, MOST_ALARMS, MOST_WRONG = 93.0, 97.0, 6.0, 5.0, 5.0

PARTS: Final = (*SIZES, "drift", "verdicts")

_SHORT: Final = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables; return 1 where a goal was missed beyond chance."""
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument(
        "--samples", "--simulations", type=int, default=400, help="of each scenario and size"
    )
    parser.add_argument("--short", action="store_true", help=f"{_SHORT} samples, 400 replicates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="just this part; may be repeated"
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    samples = _SHORT if options.short else options.samples
    missed = False
    parts = options.only or PARTS
    for name, sizes in SIZES.items():
        if name not in parts:
            continue
        seen = study(name, samples, options.seed, _fewer(sizes) if options.short else sizes)
        missed |= _printed(f"The {name} population", tables(seen))
    if "drift" in parts:
        missed |= _printed("Drift", drift_table(drift(samples, options.seed)))
    if "verdicts" in parts:
        missed |= _printed("Verdicts", verdict_tables(decisions(samples, options.seed)))
    print(f"{samples} samples of each kind, {time.monotonic() - started:.0f} s")
    return int(missed)


def _printed(title: str, lines: Iterator[str]) -> bool:
    """Print tables under a title, at once; return whether any goal was missed."""
    told = list(lines)
    print("\n".join([f"## {title}", "", *told, ""]), flush=True)
    return any("| MISSED |" in line for line in told)


def _fewer(sizes: Sequence[Size]) -> list[Size]:
    return [Size(size.opinions, size.readers, replicates=400) for size in sizes]


def tables(seen: Seen) -> Iterator[str]:
    """Yield the lines of a population's tables."""
    every, null = seen.every, seen.null
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
        for scenario, alone in seen.nulls.items() if not known else ():
            own = alone.rejected[name]
            if not own.of:
                continue  # a label is among the rough ones in some scenarios alone
            over = own.share - MOST_FALSE
            yield _row(
                f"{name}: {scenario}", own, _verdict(over, own, "rough" in name), alone, name
            )
    yield ""
    yield "| interval of | contradicts its test | of |"
    yield "|---|--:|--:|"
    for name, tally in sorted(every.contradicted.items()):
        yield f"| {name} | {tally.held} {'| MISSED |' if tally.held else '|'} {tally.of:,} |"
    yield ""
    yield "| figure | has an interval | of |"
    yield "|---|--:|--:|"
    for name, tally in sorted(every.shown.items()):
        yield f"| {name} | {tally.share:.1f}% | {tally.of:,} |"


def drift_table(found: Tallies) -> Iterator[str]:
    """Yield the lines of the table of alarms."""
    yield (
        f"| new opinions x records, against {REFERENCE:,} | unchanged: an alarm | +- "
        f"| goal at most {MOST_ALARMS:.0f}% | the other way round | +- | goal | by labels, "
        f"populations, quarantined | {100 * MOVED:.0f} points more of a label: alarms at it |"
    )
    yield "|---|--:|--:|---|--:|--:|---|---|--:|"
    for fresh in FRESH:
        cells = [str(fresh)]
        for name in ("unchanged", "unchanged, the other way round"):
            tally = found[f"{name} @ {fresh}"]
            verdict = _verdict(tally.share - MOST_ALARMS, tally, rough=False)
            cells += [f"{tally.share:.1f}%", f"{tally.error:.1f}", verdict]
        kinds = ("label_rate", "population", "quarantined")
        parts = [found[f"unchanged, {kind} @ {fresh}"].share for kind in kinds]
        cells.append(", ".join(f"{part:.1f}" for part in parts))
        cells.append(f"{found[f'moved @ {fresh}'].share:.1f}%")
        yield f"| {' | '.join(cells)} |"


def verdict_tables(found: Decided) -> Iterator[str]:
    """Yield the lines of the tables of verdicts: how often each comes, and which are wrong."""
    yield (
        "| candidate, opinions | "
        + " | ".join(f"{kind}: ship, block, cannot tell" for kind in KINDS)
        + " | opinions said to tell: a quarter, half, three quarters of samples |"
    )
    yield "|---|--:|--:|--:|--:|"
    for scenario in deciding.SCENARIOS:
        for opinions in deciding.SIZES:
            at = f"{scenario} @ {opinions}"
            cells = [
                ", ".join(f"{found.share(kind, each, at):.1f}%" for each in deciding.DECISIONS)
                for kind in KINDS
            ]
            needed = found.needed[at]
            said = ", ".join(f"{n:,.0f}" for n in np.percentile(needed or [0], [25, 50, 75]))
            yield f"| {scenario}, {opinions:,} | {' | '.join(cells)} | {said if needed else ''} |"
    yield ""
    yield f"| wrong verdict | how often | +- | of | goal at most {MOST_WRONG:.0f}% |"
    yield "|---|--:|--:|--:|---|"
    wrong = [("worse", "ship"), ("damaged", "ship"), ("equal", "block"), ("alike", "block")]
    for kind in (*KINDS, ANY):
        for scenario, decision in wrong:
            for opinions in deciding.SIZES:
                at = f"{scenario} @ {opinions}"
                tally = found.tallies[f"{kind}: {decision}, {at}"]
                verdict = _verdict(tally.share - MOST_WRONG, tally, rough=False)
                yield (
                    f"| {kind}: {decision}, {scenario}, {opinions:,} | {tally.share:.1f}% | "
                    f"{tally.error:.1f} | {tally.of:,} | {verdict} |"
                )


def _row(title: str, tally: Tally, verdict: str, study: Study, name: str | None = None) -> str:
    sizes = sorted(study.sizes(name or title).items(), key=lambda item: item[1].share)
    ends = " to ".join(
        f"{t.share:.1f} +- {t.error:.1f} ({size})"
        for size, t in dict((sizes[0], sizes[-1])).items()
    )
    numbers = f"{tally.share:.1f}% | {tally.error:.1f} | {tally.of:,}"
    return f"| {title} | {numbers} | {verdict} | {ends} |"


def _verdict(over: float, tally: Tally, rough: bool) -> str:
    """Judge by how many points the goal was missed; not above 0 is reached."""
    if over <= 0:
        return "reached"
    missed = "MISSED, by less than 2 errors" if over < 2 * tally.error else "MISSED"
    return f"rough, no goal ({missed})" if rough else missed


if __name__ == "__main__":
    sys.exit(main())
