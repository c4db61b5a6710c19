"""Rules on how much the data can say: labels too rare, differences too small to be seen."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scipy import stats

from medsent.metrics.findings.bounds import FEWEST_OPINIONS, VISIBLE, WANTED
from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.wording import UNCORRECTED, listed, opinions
from medsent.metrics.format import count, counted
from medsent.metrics.headline import is_evaluated
from medsent.metrics.model import Comparison, Metrics
from medsent.metrics.significance import direction
from medsent.metrics.statistics.changes import FEW_DISAGREEING


def untested(metrics: Metrics) -> Iterator[Said]:
    """Say that a run without replicates supports no claim."""
    if not has_replicates(metrics) and is_evaluated(metrics):
        yield Said(
            "This run was made without intervals and tests, so nothing is claimed of these "
            f"{counted(metrics.records.scored, 'record')}: how much of any figure or difference "
            "is chance is not known.",
            {"replicates": 0, "records": metrics.records.scored},
            list(metrics.variants),
        )


def has_replicates(metrics: Metrics) -> bool:
    """Return whether intervals were made; a run that scored nothing cannot have any."""
    rates = [variant.overall.generation_success_rate for variant in metrics.variants.values()]
    return any(rate is not None and rate.no_interval != "no_replicates" for rate in rates)


def too_few_to_tell(metrics: Metrics) -> Iterator[Said]:
    """Say which labels too few opinions have, how many do, and how many it takes."""
    for variants, records, few in _too_few(metrics):
        if few and records:
            yield Said(
                f"{counted(len(few), 'label')} {'occurs' if len(few) == 1 else 'occur'} in too few "
                f"opinions to say anything of {'it' if len(few) == 1 else 'them'}: "
                f"{listed(_with_opinions(few))}, in {counted(records, 'record')}. "
                f"It takes {FEWEST_OPINIONS} opinions with a label. {_takes(few, records)}",
                {
                    "labels": len(few),
                    "records": records,
                    "opinions_needed": FEWEST_OPINIONS,
                    **{f"opinions_{label}": number for label, number in few.items()},
                },
                variants,
                list(few),
            )


def _too_few(metrics: Metrics) -> Iterator[tuple[list[str], int, dict[str, int]]]:
    """Yield variants, records compared, and the opinions of each label that has too few."""
    if not is_evaluated(metrics):
        return
    for pair in metrics.comparisons:
        yield [pair.baseline, pair.candidate], pair.records, rare(pair)
    for name, variant in metrics.variants.items() if not metrics.comparisons else ():
        numbers = {label: each.opinions for label, each in variant.labels.items()}
        yield [name], variant.overall.evaluated_rows, _below(numbers)


def rare(pair: Comparison) -> dict[str, int]:
    """Return the labels that fewer opinions have than an interval takes, with how many do."""
    return _below({label: change.opinions for label, change in pair.labels.items()})


def _below(numbers: Mapping[str, int | None]) -> dict[str, int]:
    return {
        label: number
        for label, number in numbers.items()
        if number is not None and number < FEWEST_OPINIONS
    }


def _with_opinions(few: Mapping[str, int]) -> list[str]:
    return [f"{label} ({opinions(number)})" for label, number in few.items()]


def _takes(few: Mapping[str, int], records: int) -> str:
    needed = records_needed(few, records)
    unseen = [label for label, number in few.items() if not number]
    parts = []
    if needed is not None:
        parts.append(
            f"About {count(needed.records)} records would hold that many with each label that "
            f"occurs here; with so few, it may be {count(needed.low)} to {count(needed.high)}."
        )
    if unseen:
        parts.append(f"How many it takes for {listed(unseen)} cannot be said: none has it here.")
    return " ".join(parts)


@dataclass(frozen=True)
class Needed:
    """How many records hold enough opinions of every label that occurs, as far as is known."""

    records: int
    low: int
    high: int
    """In 4 of 5 runs the true number lies from `low` to `high`."""

    @property
    def numbers(self) -> dict[str, int | float | None]:
        """The same, as a finding has it."""
        return {
            "records_needed": self.records,
            "records_needed_low": self.low,
            "records_needed_high": self.high,
        }


def records_needed(few: Mapping[str, int], records: int) -> Needed | None:
    """Return how many records would hold enough opinions with the rarest label that occurs.

    Where `k` opinions have a label, its rate is taken to be k + 1 in as many records, and gamma
    distributed: what a Poisson count says about a rate without prior knowledge. With k instead of
    k + 1 the number would be far too high, since labels get here because they were seen seldom.
    """
    seen = [number for number in few.values() if number]
    if not seen:
        return None
    least = min(seen) + 1
    rates = [least, *stats.gamma.ppf([0.9, 0.1], least)]
    return Needed(*(math.ceil(records * FEWEST_OPINIONS / float(rate)) for rate in rates))


def too_few_disagreements(metrics: Metrics) -> Iterator[Said]:
    """Say for which labels the two variants disagree too seldom for a test."""
    for pair in metrics.comparisons:
        few = {label: n for label, n in _untested(pair).items() if n < FEW_DISAGREEING}
        if few:
            named = [f"{label} on {opinions(number)}" for label, number in few.items()]
            yield Said(
                f"{pair.candidate} and {pair.baseline} disagree too seldom to be compared for "
                f"{counted(len(few), 'label')}: {listed(named)}, of "
                f"{counted(pair.records, 'record')}. A test takes {FEW_DISAGREEING} opinions on "
                "which one is right and the other wrong.",
                {
                    "labels": len(few),
                    "records": pair.records,
                    "disagreeing_needed": FEW_DISAGREEING,
                    **{f"disagreeing_{label}": number for label, number in few.items()},
                },
                [pair.baseline, pair.candidate],
                list(few),
            )


def no_variation(metrics: Metrics) -> Iterator[Said]:
    """Say for which labels the difference is too uniform, or too uneven, to be tested."""
    for pair in metrics.comparisons:
        many = {label: n for label, n in _untested(pair).items() if n >= FEW_DISAGREEING}
        if many:
            named = [f"{label} on {opinions(number)}" for label, number in many.items()]
            yield Said(
                f"{pair.candidate} and {pair.baseline} disagree often enough for "
                f"{counted(len(many), 'label')}, {listed(named)} of "
                f"{counted(pair.records, 'record')}, and yet cannot be compared: the difference is "
                "the same however opinions are drawn, or rests on a few that have most of the "
                "records.",
                {
                    "labels": len(many),
                    "records": pair.records,
                    **{f"disagreeing_{label}": number for label, number in many.items()},
                },
                [pair.baseline, pair.candidate],
                list(many),
            )


def _untested(pair: Comparison) -> dict[str, int]:
    """Return how many opinions the two disagree on, for labels without test but not too rare."""
    return {
        label: change.disagreeing
        for label, change in pair.labels.items()
        if direction(change) == "too few to tell"
        and (change.opinions or 0) >= FEWEST_OPINIONS
        and change.disagreeing is not None
    }


def detectable(metrics: Metrics) -> Iterator[Said]:
    """Say for which labels these data can miss a difference that a reader would see."""
    for pair in metrics.comparisons:
        known = {label: change.detectable for label, change in pair.labels.items()}
        found = {
            label: each for label, each in known.items() if each is not None and each > VISIBLE
        }
        if not found:
            continue
        named = [f"{label} {100 * each:.1f}" for label, each in found.items()]
        yield Said(
            f"{counted(pair.records, 'record')} are too few to show a difference of "
            f"{100 * VISIBLE:.0f} points in F1 for {counted(len(found), 'label')}. The smallest "
            f"that would show in 4 of 5 runs, {UNCORRECTED}, in points: {listed(named)}.",
            {
                "labels": len(found),
                "records": pair.records,
                "bound": VISIBLE,
                **{f"detectable_{label}": each for label, each in found.items()},
            },
            [pair.baseline, pair.candidate],
            list(found),
        )


def enough_data(metrics: Metrics) -> Iterator[Said]:
    """Say how much larger a run must be to show a small difference for each tested label."""
    for pair in metrics.comparisons:
        tested = {
            label: [((each or seen) / WANTED) ** 2 for each in (seen, *ends)]
            for label, change in pair.labels.items()
            for seen, ends in [(change.detectable, (change.detectable_low, change.detectable_high))]
            if seen is not None
        }
        short = {label: times for label, times in tested.items() if times[0] > 1}
        if not short:
            continue
        most = max(short, key=lambda label: short[label][0])
        times, low, high = (max(each) for each in zip(*tested.values(), strict=True))
        low = max(low, 1.0)
        needed, least, largest = (math.ceil(pair.records * each) for each in (times, low, high))
        yield Said(
            f"To show a difference of {100 * WANTED:.0f} points in F1 for each label that could "
            f"be tested, in 4 of 5 runs and {UNCORRECTED}, takes {low:.1f} to {high:.1f} times as "
            f"many opinions, with as many readers each: {count(least)} to {count(largest)} "
            f"records in place of {count(pair.records)}. {most} needs the most; "
            f"{counted(len(short), 'label')} {'needs' if len(short) == 1 else 'need'} more than "
            "there are.",
            {
                "records": pair.records,
                "difference": WANTED,
                "times": times,
                "times_low": low,
                "times_high": high,
                "records_needed": needed,
                "records_needed_low": least,
                "records_needed_high": largest,
                **{
                    f"records_{label}": math.ceil(pair.records * each[0])
                    for label, each in short.items()
                },
            },
            [pair.baseline, pair.candidate],
            list(short),
        )
