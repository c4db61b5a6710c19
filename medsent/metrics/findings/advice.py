"""Recommendations: each follows from what another rule finds."""

from collections.abc import Iterator

from medsent.metrics.calibration import Curve
from medsent.metrics.estimate import Estimate
from medsent.metrics.findings.attention import judged, lower_slices
from medsent.metrics.findings.bounds import FEWEST_OPINIONS, TESTED
from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.support import rare, records_needed
from medsent.metrics.findings.wording import changed, gap, listed, opinions, share
from medsent.metrics.format import count, counted, percent
from medsent.metrics.headline import headline
from medsent.metrics.model import Change, Comparison, Metrics, VariantMetrics
from medsent.metrics.significance import below, direction, untested


def roll_out(metrics: Metrics) -> Iterator[Said]:
    """Recommend the candidate where it is higher as a whole and found to be lower nowhere."""
    for pair in _unopposed(metrics):
        if _tested(pair) >= TESTED * len(pair.labels):
            yield _said(
                pair,
                f"Use {pair.candidate} in place of {pair.baseline}: its",
                "No label, no slice and not the share of usable answers was found to be lower.",
            )


def too_early(metrics: Metrics) -> Iterator[Said]:
    """Recommend to wait where the candidate is higher but most labels could not be tested."""
    for pair in _unopposed(metrics):
        if _tested(pair) < TESTED * len(pair.labels):
            yield _said(
                pair,
                f"{_too_early(pair)}. Its",
                "That no label was found to be lower says little while most cannot be tested.",
            )


def _too_early(pair: Comparison) -> str:
    if pair.verdict is None:
        return f"Do not yet replace {pair.baseline} by {pair.candidate}"
    return (
        f"Replace {pair.baseline} by {pair.candidate} only where the labels that could not be "
        "tested matter little"
    )


def _unopposed(metrics: Metrics) -> Iterator[Comparison]:
    for pair in metrics.comparisons:
        shipped = pair.verdict is None or _ships(pair)
        if shipped and direction(headline(pair)[1]) == "higher" and not lowered(pair):
            yield pair


def _tested(pair: Comparison) -> int:
    return sum(direction(change) != "too few to tell" for change in pair.labels.values())


def _said(pair: Comparison, start: str, end: str) -> Said:
    name, change = headline(pair)
    tested = _tested(pair)
    higher = sum(direction(each) == "higher" for each in pair.labels.values())
    return Said(
        f"{start} {name} is higher, {gap(change)}, on {counted(pair.records, 'record')}. "
        f"{tested} of {counted(len(pair.labels), 'label')} could be tested, and F1 is higher for "
        f"{higher} of them. {end}",
        {**changed(change), "records": pair.records, "tested": tested, "higher": higher},
        [pair.baseline, pair.candidate],
    )


def lowered(pair: Comparison) -> list[str]:
    """Return what the tests say the candidate does worse: labels, slices, usable answers."""
    success = pair.overall["generation_success_rate"]
    return [
        *_lower_labels(pair),
        *lower_slices(pair),
        *(["generation_success_rate"] if direction(success) == "lower" else []),
    ]


def _lower_labels(pair: Comparison) -> dict[str, Change]:
    return {label: each for label, each in pair.labels.items() if direction(each) == "lower"}


def no_ground(metrics: Metrics) -> Iterator[Said]:
    """Recommend against a change that no test supports."""
    for pair in metrics.comparisons:
        name, change = headline(pair)
        found = direction(change)
        if change.difference is None or found == "higher" or _ships(pair):
            continue
        why = {
            "lower": f"its {name} is lower,",
            "no difference detected": f"no difference in {name} was found,",
        }.get(found, f"{name} could not be tested, since {untested(change)}; the difference is")
        yield Said(
            f"These {counted(pair.records, 'record')} give no ground to replace {pair.baseline} by "
            f"{pair.candidate}: {why} {gap(change)}.",
            {**changed(change), "records": pair.records},
            [pair.baseline, pair.candidate],
        )


def as_good(metrics: Metrics) -> Iterator[Said]:
    """Recommend what is not better but no worse, by the margin, where it has other advantages."""
    for pair in metrics.comparisons:
        found, (name, change) = pair.verdict, headline(pair)
        if found is None or not _ships(pair) or direction(change) == "higher":
            continue
        yield Said(
            f"{pair.candidate} can take the place of {pair.baseline} where it has another "
            f"advantage, such as its cost: {name} is not higher, and at most "
            f"{100 * found.macro_f1.margin:g} points lower, {gap(change)}, on "
            f"{counted(pair.records, 'record')}.",
            {**changed(change), "records": pair.records, "margin": found.macro_f1.margin},
            [pair.baseline, pair.candidate],
        )


def _ships(pair: Comparison) -> bool:
    return pair.verdict is not None and pair.verdict.decision == "ship"


def keep_baseline(metrics: Metrics) -> Iterator[Said]:
    """Recommend the baseline for the labels that the candidate does worse."""
    for pair in metrics.comparisons:
        lower = _lower_labels(pair)
        if not lower:
            continue
        named = [f"{label} {gap(each)}" for label, each in lower.items()]
        those = "that label matters" if len(lower) == 1 else "those labels matter"
        yield Said(
            f"Keep {pair.baseline} for {counted(len(lower), 'label')} on which {pair.candidate} "
            f"has the lower F1, or keep it altogether where {those}: {'; '.join(named)}, on "
            f"{counted(pair.records, 'record')}.",
            {
                "labels": len(lower),
                "records": pair.records,
                **{
                    f"{name}_{label}": value
                    for label, each in lower.items()
                    for name, value in changed(each).items()
                    if name in ("difference", "low", "high", "p_corrected")
                },
            },
            [pair.baseline, pair.candidate],
            list(lower),
        )


def collect_more(metrics: Metrics) -> Iterator[Said]:
    """Recommend more data for labels that too few opinions have, with how much."""
    for pair in metrics.comparisons:
        few = {label: number for label, number in rare(pair).items() if number}
        needed = records_needed(few, pair.records)
        if needed is None:
            continue
        rarest = min(few, key=lambda label: few[label])
        yield Said(
            f"Collect more opinions with {listed(few)}. At the rates seen in "
            f"{counted(pair.records, 'record')}, about {count(needed.records)} records hold "
            f"the {FEWEST_OPINIONS} opinions that the rarest label needs ({rarest}, in "
            f"{opinions(few[rarest])} now), though {count(needed.low)} to {count(needed.high)} are "
            "possible; twice as many give an interval that is not rough. Choosing opinions "
            "that are likely to have them takes fewer.",
            {
                "labels": len(few),
                "records": pair.records,
                **needed.numbers,
                "opinions_needed": FEWEST_OPINIONS,
                **{f"opinions_{label}": number for label, number in few.items()},
            },
            [pair.baseline, pair.candidate],
            list(few),
        )


def tune_thresholds(metrics: Metrics) -> Iterator[Said]:
    """Recommend tuning where another threshold gives more F1 than chance would."""
    for name, variant in judged(metrics).items():
        found = _better(variant)
        if not found:
            continue
        named = [
            f"{label} {percent(best)} at {threshold:.2f} against {share(figure)} in use"
            for label, (figure, best, threshold) in found.items()
        ]
        yield Said(
            f"Tune the thresholds of {name} on a validation run, with medsent thresholds. On "
            f"these {counted(variant.overall.evaluated_rows, 'record')} another threshold lifts F1 "
            f"above its 95% interval for {counted(len(found), 'label')}: {'; '.join(named)}. "
            "These are the best on the same records: expect less on others.",
            {
                "labels": len(found),
                "records": variant.overall.evaluated_rows,
                **{
                    f"{key}_{label}": value
                    for label, (figure, best, threshold) in found.items()
                    for key, value in (
                        ("f1", figure.value),
                        ("high", figure.high),
                        ("best_f1", best),
                        ("threshold", threshold),
                    )
                },
            },
            [name],
            list(found),
        )


def _better(variant: VariantMetrics) -> dict[str, tuple[Estimate, float, float]]:
    """Return for each label the F1 in use, and the best with its threshold, where beyond chance."""
    if variant.calibration is None:
        return {}
    among = sum(label.f1 is not None for label in variant.labels.values())
    found = {}
    for label, each in variant.calibration.labels.items():
        best, figure = _best(each.curve), variant.labels[label].f1
        if best is not None and figure is not None and below(figure, best[0], among):
            found[label] = (figure, *best)
    return found


def _best(curve: Curve) -> tuple[float, float] | None:
    """Return the highest F1 of a curve and the lowest threshold that gives it."""
    known = [
        (f1, -threshold)
        for f1, threshold in zip(curve.f1, curve.thresholds, strict=True)
        if f1 is not None
    ]
    if not known:
        return None
    f1, threshold = max(known)
    return f1, -threshold
