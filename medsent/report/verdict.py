"""The verdict in a sentence, what it rests on, and the few numbers behind it."""

from collections import Counter
from collections.abc import Iterator

from medsent.metrics.estimate import Estimated, value_of
from medsent.metrics.findings.wording import gap
from medsent.metrics.format import (
    count,
    counted,
    p_value,
    percent,
    points,
    rate,
    share_interval,
    signed_interval,
)
from medsent.metrics.headline import headline, is_evaluated
from medsent.metrics.model import Comparison, Distribution, Metrics, OverallMetrics, VariantMetrics
from medsent.metrics.significance import direction, untested
from medsent.report.document import KeyFigure
from medsent.report.tables.route import unpaired

_MOST_GIVEN = 3


def verdict(metrics: Metrics) -> list[str]:
    """Return sentences: the verdict first, then what it rests on and what it leaves open.

    No sentence says that a difference is more than chance unless the test does.
    """
    if not metrics.records.scored:
        return ["No record was scored, so there is nothing to report.", _coverage(metrics)]
    if not is_evaluated(metrics):
        other = [line for pair in metrics.comparisons for line in _other_labels(pair)]
        return [_unevaluated(metrics), *_given(metrics), *other, _coverage(metrics)]
    if not metrics.comparisons:
        return [*_alone(metrics), _coverage(metrics)]
    sentences = [_compared(pair) for pair in metrics.comparisons]
    for pair in metrics.comparisons:
        sentences += _basis(metrics, pair)
    return [*sentences, _coverage(metrics)]


def _unevaluated(metrics: Metrics) -> str:
    scored = counted(metrics.records.scored, "record")
    variants = metrics.variants.values()
    if not any(variant.overall.answered_rows for variant in variants):
        return f"{scored} scored, but not one answer could be used; the statuses say why."
    return (
        f"{scored} scored. No usable answer has gold to compare it with, so this report has no "
        "figures of quality."
    )


def _given(metrics: Metrics) -> Iterator[str]:
    """Say how many labels each variant gives, and which most often."""
    for name, variant in metrics.variants.items():
        rates = _rates(variant)
        if rates:
            most = sorted(rates, key=lambda label: -rates[label])[:_MOST_GIVEN]
            named = ", ".join(f"{label} {percent(rates[label])}" for label in most)
            yield f"{name} gives {sum(rates.values()):.1f} labels a record, most often {named}."


def _rates(variant: VariantMetrics) -> dict[str, float]:
    rates = {label: value_of(each.predicted_rate) for label, each in variant.labels.items()}
    return {label: rate for label, rate in rates.items() if rate is not None}


def _alone(metrics: Metrics) -> Iterator[str]:
    values = [
        f"{name} {_with_interval(variant.overall.macro_f1)}"
        for name, variant in metrics.variants.items()
    ]
    yield f"Macro F1: {', '.join(values)}."
    if metrics.route is not None:
        yield unpaired(metrics.route)
        return
    yield _averages("macro F1")
    yield "No comparison is configured, so nothing is said to be better than anything else."


def _with_interval(figure: Estimated) -> str:
    interval = None if figure is None else share_interval(figure)
    value = percent(value_of(figure))
    return value if interval is None else f"{value} (95% interval {interval})"


def _compared(pair: Comparison) -> str:
    _, change = headline(pair)
    figure = change.difference
    if figure is None:
        return (
            f"{pair.candidate} and {pair.baseline} cannot be compared by macro F1: it is "
            "undefined for at least one of them."
        )
    told = (
        f"than {pair.baseline} on average: macro F1 {percent(change.candidate)} against "
        f"{percent(change.baseline)}, a difference of "
    )
    if change.p is None:
        return (
            f"It was not tested whether {pair.candidate} is better {told}{points(figure.value)} "
            f"points, without interval: {untested(change)}."
        )
    found = {
        "higher": f"is better {told}{gap(change)}, more than chance would give",
        "lower": f"is worse {told}{gap(change)}, more than chance would give",
    }.get(direction(change), f"was not found to be better or worse {told}{gap(change)}")
    return f"{pair.candidate} {found}."


def _basis(metrics: Metrics, pair: Comparison) -> Iterator[str]:
    about = f"{pair.candidate} against {pair.baseline}: " if len(metrics.comparisons) > 1 else ""
    base = metrics.variants[pair.baseline]
    candidate = metrics.variants[pair.candidate]
    yield f"{about}F1 is {_directions(pair)}."
    yield _averages(headline(pair)[0])
    yield from _caution(pair)
    yield from _other_labels(pair)
    if base.overall.evaluated_rows != candidate.overall.evaluated_rows:
        yield (
            f"Compared are the {counted(pair.records, 'record')} that both answered; "
            f"{pair.baseline} was evaluated on {count(base.overall.evaluated_rows)}, "
            f"{pair.candidate} on {count(candidate.overall.evaluated_rows)}."
        )
    yield from _averaged(pair, base.overall, candidate.overall)
    few = [n for n, change in pair.labels.items() if direction(change) == "too few to tell"]
    if few and headline(pair)[1].p is not None:
        yield (
            f"Nothing can be said of {counted(len(few), 'label')}, since too few opinions have "
            f"{'it' if len(few) == 1 else 'them'} or the two disagree too seldom: {', '.join(few)}."
        )


def _other_labels(pair: Comparison) -> Iterator[str]:
    """Say which labels are compared nowhere, since only one of the two has them."""
    if pair.labels_left_out:
        alone = [f"{name} alone has {', '.join(own)}" for name, own in pair.labels_left_out.items()]
        yield (
            f"Every figure is over the {counted(len(pair.labels), 'label')} that both have; "
            f"{'; '.join(alone)}."
        )


def _averages(name: str) -> str:
    """Say what macro F1 is, and over which labels."""
    over = name.removeprefix("macro F1") or " over the labels"
    return (
        "F1 is 100% where a label is given to all records that have it and to no other; macro F1 "
        f"is its mean{over}."
    )


def _caution(pair: Comparison) -> Iterator[str]:
    change = headline(pair)[1]
    figure = change.difference
    if figure is None or figure.low is None:
        yield (
            "This is a difference without interval: how much of it is chance has not been "
            "estimated."
        )
        return
    rough = " This one is rough: it is from fewer than 20 opinions." if figure.rough else ""
    yield (
        "The true difference, for all opinions like these read by the same personas, likely lies "
        f"in the interval: about 95 of 100 such intervals hold it.{rough}"
    )
    yield (
        f"p {p_value(change.p)} is how often chance would give a difference this large, were the "
        "two alike. Records of one opinion count together, and tests of labels are corrected for "
        "their number."
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
        which = "The" if headline(pair)[0] == "macro F1" else "Other"
        over = counted(number, "label")
        yield f"{which} averages are over {over}; undefined for both: {left[0]}."


def _left_out(overall: OverallMetrics) -> str:
    return ", ".join(overall.left_out.get("f1", [])) or "none"


def _directions(pair: Comparison) -> str:
    found = Counter(direction(change) for change in pair.labels.values())
    if not any(change.p is not None for change in pair.labels.values()):
        if headline(pair)[1].p is not None:
            return "tested for no label: too few opinions"
        return _spread(pair.distribution)
    parts = [
        f"higher for {counted(found['higher'], 'label')}",
        f"lower for {count(found['lower'])}",
        f"not found to differ for {count(found['no difference detected'])}",
    ]
    if found["too few to tell"]:
        parts.append(f"with too few opinions to tell for {count(found['too few to tell'])}")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _spread(spread: Distribution) -> str:
    """The same without tests: which way the figures point."""
    parts = [
        f"higher for {counted(spread.higher, 'label')}",
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
        figures = [
            _macro(pair),
            _difference(pair),
            _labels(pair),
            _answers(metrics, pair),
            *figures,
        ]
    elif is_evaluated(metrics):
        figures = [*map(_macro_alone, metrics.variants.items()), *figures]
    else:
        figures = [*map(_usable, metrics.variants.items()), *figures]
    return [*figures, *_speed(metrics)]


def _macro(pair: Comparison) -> KeyFigure:
    name, change = headline(pair)
    detail = f"{pair.candidate}; {pair.baseline} {percent(change.baseline)}"
    if name != "macro F1":
        detail += "; labels with enough opinions"
    return KeyFigure("Macro F1", percent(change.candidate), detail)


def _difference(pair: Comparison) -> KeyFigure:
    figure = headline(pair)[1].difference
    interval = signed_interval(figure)
    detail = "without interval" if interval is None else f"95% interval {interval}"
    return KeyFigure("Difference, points", points(value_of(figure)), detail)


def _macro_alone(named: tuple[str, VariantMetrics]) -> KeyFigure:
    name, variant = named
    figure = variant.overall.macro_f1
    interval = None if figure is None else share_interval(figure)
    detail = name if interval is None else f"{name}; 95% interval {interval}"
    return KeyFigure("Macro F1", percent(value_of(figure)), detail)


def _usable(named: tuple[str, VariantMetrics]) -> KeyFigure:
    name, variant = named
    rate = value_of(variant.overall.generation_success_rate)
    labels = sum(_rates(variant).values())
    return KeyFigure("Usable answers", percent(rate), f"{name}; {labels:.1f} labels a record")


def _labels(pair: Comparison) -> KeyFigure:
    found = Counter(direction(change) for change in pair.labels.values())
    if any(change.p is not None for change in pair.labels.values()):
        higher = found["higher"]
        detail = (
            f"higher; {count(found['lower'])} lower, {count(found['no difference detected'])} not "
            f"found to differ, {count(found['too few to tell'])} too few to tell"
        )
    else:
        spread = pair.distribution
        higher = spread.higher
        detail = f"higher; {count(spread.worse)} lower, {count(spread.unchanged)} unchanged"
        if spread.undefined:
            detail += f", {count(spread.undefined)} undefined"
    return KeyFigure("Labels by F1", f"{count(higher)} of {count(len(pair.labels))}", detail)


def _answers(metrics: Metrics, pair: Comparison) -> KeyFigure:
    rates = [
        percent(value_of(metrics.variants[name].overall.generation_success_rate))
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
