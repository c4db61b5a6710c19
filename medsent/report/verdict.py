"""The verdict in a sentence, what it rests on, and the few numbers behind it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from medsent.metrics.estimate import Estimated, value_of
from medsent.metrics.findings.repeats import within
from medsent.metrics.findings.wording import first, listed
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
from medsent.metrics.significance import direction
from medsent.report.decision import decided
from medsent.report.document import KeyFigure
from medsent.report.tables.cost import cost_figure, cost_sentences
from medsent.report.tables.route import unpaired

_MOST_GIVEN = 3


def verdict(metrics: Metrics) -> list[str]:
    """Return sentences: the verdict first, then what it rests on and what it leaves open.

    No sentence says that a difference is more than chance unless the test does.
    """
    if not metrics.records.scored:
        return ["No record was scored, so there is nothing to report.", _coverage(metrics)]
    if not is_evaluated(metrics):
        other = [
            _about(metrics, pair, sentence)
            for pair in metrics.comparisons
            for sentence in _other_labels(pair)
        ]
        given = [*_given(metrics), *cost_sentences(metrics)]
        return [_unevaluated(metrics), *given, *other, _coverage(metrics)]
    if not metrics.comparisons:
        first, *rest = _alone(metrics)
        return [first, *cost_sentences(metrics), *rest, _coverage(metrics)]
    sentences = [*map(decided, metrics.comparisons), *within(metrics), *cost_sentences(metrics)]
    return [*sentences, *_basis(metrics), _coverage(metrics)]


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
    yield from _averages()
    yield "No comparison is configured, so nothing is said to be better than anything else."


def _with_interval(figure: Estimated) -> str:
    interval = None if figure is None else share_interval(figure)
    value = percent(value_of(figure))
    return value if interval is None else f"{value} (95% interval {interval})"


def _basis(metrics: Metrics) -> Iterator[str]:
    """Say how the labels go, then once what the figures mean, then what each pair leaves open."""
    pairs = metrics.comparisons
    for pair in pairs:
        yield _about(metrics, pair, _directions(pair))
    yield from _averages(pairs)
    yield from _chance(pairs)
    for pair in pairs:
        for sentence in _limits(metrics, pair):
            yield _about(metrics, pair, sentence)


def _about(metrics: Metrics, pair: Comparison, sentence: str) -> str:
    """Begin a sentence by which pair it is about, where there are several."""
    if len(metrics.comparisons) > 1:
        return f"{pair.candidate} against {pair.baseline}: {sentence}"
    return f"{sentence[0].upper()}{sentence[1:]}"


def _limits(metrics: Metrics, pair: Comparison) -> Iterator[str]:
    """Yield, each to follow the names of the pair, what its figures leave out or cannot say."""
    yield from _caution(headline(pair)[1].difference)
    yield from _to_collect(pair)
    yield from _other_labels(pair)
    sides = [metrics.variants[name].overall for name in (pair.baseline, pair.candidate)]
    yield from _compared_records(pair, *sides)
    yield from _averaged(pair, *sides)
    few = [n for n, change in pair.labels.items() if direction(change) == "too few to tell"]
    if few and headline(pair)[1].p is not None:
        yield (
            f"nothing can be said of {counted(len(few), 'label')}, since too few opinions have "
            f"{'it' if len(few) == 1 else 'them'} or the two disagree too seldom: {first(few)}."
        )


def _to_collect(pair: Comparison) -> Iterator[str]:
    """Say which opinions would tell most, and how sure their number is."""
    found = pair.verdict
    if found is None or not found.collect:
        return
    told = f"it would help most to collect opinions with {first(found.collect)}"
    if found.opinions_needed_low is not None and found.opinions_needed_high is not None:
        low, high = count(found.opinions_needed_low), count(found.opinions_needed_high)
        told += f"; the number of opinions that it takes is estimated, {low} to {high}"
    yield f"{told}."


def _other_labels(pair: Comparison) -> Iterator[str]:
    """Say which labels are compared nowhere, since only one of the two has them."""
    if pair.labels_left_out:
        alone = [f"{name} alone has {', '.join(own)}" for name, own in pair.labels_left_out.items()]
        yield (
            f"every figure is over the {counted(len(pair.labels), 'label')} that both have; "
            f"{'; '.join(alone)}."
        )


def _averages(pairs: Sequence[Comparison] = ()) -> Iterator[str]:
    """Say what macro F1 is, and over which labels; pairs may differ in those."""
    names = dict.fromkeys(headline(pair)[0] for pair in pairs) or ["macro F1"]
    over = [name.removeprefix("macro F1").removeprefix(" over ") or "the labels" for name in names]
    yield (
        "F1 is 100% where a label is given to all records that have it and to no other; macro F1 "
        f"is its mean over {', or over '.join(over)}."
    )


def _chance(pairs: Sequence[Comparison]) -> Iterator[str]:
    """Say what an interval and p are, where something was tested, with each pair's p."""
    tested = [pair for pair in pairs if headline(pair)[1].p is not None]
    if not tested:
        return
    yield (
        "The true difference, for all opinions like these read by the same personas, likely lies "
        "in the interval: about 95 of 100 such intervals hold it."
    )
    p = [p_value(headline(pair)[1].p) for pair in tested]
    named = [
        f"{one} for {pair.candidate} against {pair.baseline}"
        for one, pair in zip(p, tested, strict=True)
    ]
    told = f"p {p[0]} is" if len(pairs) == 1 else f"p, {listed(named)}, is"
    yield (
        f"{told} how often chance would give a difference at least this large, were the two alike. "
        "Records of one opinion count together, and tests of labels are corrected for their number."
    )


def _caution(figure: Estimated) -> Iterator[str]:
    """Warn of a difference with no interval or a rough one; say nothing if there is none."""
    if figure is None:
        return
    if figure.low is None:
        yield (
            "this is a difference without interval: how much of it is chance has not been "
            "estimated."
        )
    elif figure.rough:
        yield "the interval is rough: it is from fewer than 20 opinions."


def _compared_records(
    pair: Comparison, base: OverallMetrics, candidate: OverallMetrics
) -> Iterator[str]:
    if base.evaluated_rows != candidate.evaluated_rows:
        yield (
            f"compared are the {counted(pair.records, 'record')} that both answered; "
            f"{pair.baseline} was evaluated on {count(base.evaluated_rows)}, {pair.candidate} on "
            f"{count(candidate.evaluated_rows)}."
        )


def _averaged(pair: Comparison, base: OverallMetrics, candidate: OverallMetrics) -> Iterator[str]:
    """Say which labels the macro F1 of each is not a mean of."""
    left = [_left_out(overall) for overall in (base, candidate)]
    whole = headline(pair)[0] == "macro F1"
    if left[0] != left[1]:
        yield (
            f"the {'two' if whole else 'other'} averages are not over the same labels: "
            f"{pair.baseline} leaves out {left[0]}, {pair.candidate} {left[1]}, as undefined."
        )
    elif candidate.left_out.get("f1"):
        over = counted(len(pair.labels) - len(candidate.left_out["f1"]), "label")
        which = "the" if whole else "other"
        yield f"{which} averages are over {over}; undefined for both: {left[0]}."


def _left_out(overall: OverallMetrics) -> str:
    return ", ".join(overall.left_out.get("f1", [])) or "none"


def _directions(pair: Comparison) -> str:
    """Say for how many labels F1 is higher or lower by the tests or, without any, as it stands."""
    found = Counter(direction(change) for change in pair.labels.values())
    if not any(change.p is not None for change in pair.labels.values()):
        if headline(pair)[1].p is not None:
            return "F1 was tested for no label: too few opinions."
        return f"in these figures, untested, F1 is {_spread(pair.distribution)}."
    parts = [
        f"higher for {counted(found['higher'], 'label')}",
        f"lower for {count(found['lower'])}",
        f"not found to differ for {count(found['no difference detected'])}",
    ]
    if found["too few to tell"]:
        parts.append(f"with too few opinions to tell for {count(found['too few to tell'])}")
    return f"F1 is {listed(parts)}."


def _spread(spread: Distribution) -> str:
    """The same without tests: which way the figures point."""
    parts = [
        f"higher for {counted(spread.higher, 'label')}",
        f"lower for {count(spread.worse)}",
        f"unchanged for {count(spread.unchanged)}",
    ]
    if spread.undefined:
        parts.append(f"undefined for {count(spread.undefined)}")
    return listed(parts)


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
    return [*figures, *_speed(metrics), *cost_figure(metrics)]


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
