"""The verdict in a sentence, what it rests on, and the few numbers behind it."""

from collections.abc import Iterator

from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import KeyFigure
from medsent.report.figures import count, counted, percent, points, rate
from medsent.report.model import Comparison, Distribution, Metrics, OverallMetrics, VariantMetrics


def verdict(metrics: Metrics) -> list[str]:
    """Return sentences: the verdict first, then what it rests on and what it leaves open.

    No sentence says that a difference is more than chance: that takes an interval.
    """
    if not metrics.records.scored:
        return ["No record was scored, so there is nothing to report.", _coverage(metrics)]
    if not is_evaluated(metrics):
        return [_unevaluated(metrics), _coverage(metrics)]
    if not metrics.comparisons:
        return [*_alone(metrics), _coverage(metrics)]
    sentences = [_compared(pair) for pair in metrics.comparisons]
    for pair in metrics.comparisons:
        sentences += _basis(metrics, pair)
    return [*sentences, _coverage(metrics)]


def is_evaluated(metrics: Metrics) -> bool:
    """Return whether there is a record with both gold and a usable answer."""
    return any(variant.overall.evaluated_rows for variant in metrics.variants.values())


def _unevaluated(metrics: Metrics) -> str:
    scored = counted(metrics.records.scored, "record")
    variants = metrics.variants.values()
    if not any(variant.overall.answered_rows for variant in variants):
        return f"{scored} scored, but not one answer could be used; the statuses say why."
    return (
        f"{scored} scored. No usable answer has gold to compare it with, so this report has no "
        "figures of quality."
    )


def _alone(metrics: Metrics) -> Iterator[str]:
    values = [
        f"{name} {percent(variant.overall.macro_f1)}" for name, variant in metrics.variants.items()
    ]
    yield f"Macro F1: {', '.join(values)}."
    yield "No comparison is configured, so nothing is said to be better than anything else."


def _compared(pair: Comparison) -> str:
    change = pair.overall["macro_f1"]
    if change.difference is None:
        return (
            f"{pair.candidate} and {pair.baseline} cannot be compared by macro F1: it is "
            "undefined for at least one of them."
        )
    both = (
        f"{pair.candidate} reaches a macro F1 of {percent(change.candidate)}, "
        f"{pair.baseline} {percent(change.baseline)}"
    )
    if change.difference == 0:
        return f"{both}: no difference."
    return f"{both}: a difference of {points(change.difference)} percentage points."


def _basis(metrics: Metrics, pair: Comparison) -> Iterator[str]:
    about = f"{pair.candidate} against {pair.baseline}: " if len(metrics.comparisons) > 1 else ""
    base = metrics.variants[pair.baseline]
    candidate = metrics.variants[pair.candidate]
    yield f"{about}F1 is {_directions(pair.distribution)}."
    yield (
        "This is a difference without interval: how much of it is chance has not been estimated."
    )
    if base.overall.evaluated_rows != candidate.overall.evaluated_rows:
        yield (
            f"The two were not evaluated on the same records: {pair.baseline} on "
            f"{count(base.overall.evaluated_rows)}, {pair.candidate} on "
            f"{count(candidate.overall.evaluated_rows)}."
        )
    yield from _averaged(pair, base.overall, candidate.overall)
    few = [
        label
        for label in pair.labels
        if min(base.labels[label].support, candidate.labels[label].support) < FEW_POSITIVES
    ]
    if few:
        yield (
            f"Fewer than {FEW_POSITIVES} positives, too few to say much, for "
            f"{counted(len(few), 'label')}: {', '.join(few)}."
        )


def _averaged(pair: Comparison, base: OverallMetrics, candidate: OverallMetrics) -> Iterator[str]:
    """Say which labels the macro F1 of each is not a mean of."""
    left = [_left_out(overall) for overall in (base, candidate)]
    if left[0] != left[1]:
        yield (
            "The two averages are not over the same labels: "
            f"{pair.baseline} leaves out {left[0]}, {pair.candidate} {left[1]}, as undefined."
        )
    elif candidate.left_out.get("f1"):
        number = len(pair.labels) - len(candidate.left_out["f1"])
        yield f"The averages are over {counted(number, 'label')}; undefined for both: {left[0]}."


def _left_out(overall: OverallMetrics) -> str:
    return ", ".join(overall.left_out.get("f1", [])) or "none"


def _directions(spread: Distribution) -> str:
    higher = spread.over_50 + spread.from_10_to_50 + spread.from_0_to_10 + spread.from_zero
    parts = [
        f"higher for {counted(higher, 'label')}",
        f"lower for {count(spread.worse)}",
        f"unchanged for {count(spread.unchanged)}",
    ]
    if spread.undefined:
        parts.append(f"undefined for {count(spread.undefined)}")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _coverage(metrics: Metrics) -> str:
    records = metrics.records
    scored = f"{count(records.scored)} of {counted(records.input, 'input record')}"
    verb = "was" if records.scored == 1 else "were"
    return f"{scored} {verb} scored, {count(records.quarantined)} quarantined."


def key_figures(metrics: Metrics) -> list[KeyFigure]:
    """Return the few numbers behind the verdict, for the first comparison where there is one."""
    figures = [_scored(metrics)]
    if metrics.comparisons and is_evaluated(metrics):
        pair = metrics.comparisons[0]
        figures = [_macro(pair), _labels(pair), _answers(metrics, pair), *figures]
    elif is_evaluated(metrics):
        figures = [*map(_macro_alone, metrics.variants.items()), *figures]
    return [*figures, *_speed(metrics)]


def _macro(pair: Comparison) -> KeyFigure:
    change = pair.overall["macro_f1"]
    detail = f"{pair.candidate}; {pair.baseline} {percent(change.baseline)}"
    return KeyFigure("Macro F1", percent(change.candidate), detail)


def _macro_alone(named: tuple[str, VariantMetrics]) -> KeyFigure:
    name, variant = named
    return KeyFigure("Macro F1", percent(variant.overall.macro_f1), name)


def _labels(pair: Comparison) -> KeyFigure:
    spread = pair.distribution
    higher = spread.over_50 + spread.from_10_to_50 + spread.from_0_to_10 + spread.from_zero
    detail = f"higher; {count(spread.worse)} lower, {count(spread.unchanged)} unchanged"
    if spread.undefined:
        detail += f", {count(spread.undefined)} undefined"
    return KeyFigure("Labels by F1", f"{count(higher)} of {count(len(pair.labels))}", detail)


def _answers(metrics: Metrics, pair: Comparison) -> KeyFigure:
    rates = [
        percent(metrics.variants[name].overall.generation_success_rate)
        for name in (pair.candidate, pair.baseline)
    ]
    return KeyFigure("Usable answers", rates[0], f"{pair.candidate}; {pair.baseline} {rates[1]}")


def _scored(metrics: Metrics) -> KeyFigure:
    records = metrics.records
    detail = f"of {count(records.input)}; {count(records.quarantined)} quarantined"
    return KeyFigure("Records scored", count(records.scored), detail)


def _speed(metrics: Metrics) -> Iterator[KeyFigure]:
    speeds = {
        name: variant.throughput.records_per_s
        for name, variant in metrics.variants.items()
        if variant.throughput is not None and variant.throughput.records_per_s is not None
    }
    if not speeds:
        return
    # The candidate's where there is one, with the others beside it.
    main = metrics.comparisons[0].candidate if metrics.comparisons else next(iter(speeds))
    if main not in speeds:
        return
    others = [f"{name} {rate(value)}" for name, value in speeds.items() if name != main]
    yield KeyFigure("Records per second", rate(speeds[main]), "; ".join([main, *others]))
