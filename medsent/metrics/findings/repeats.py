"""Rules on what asking the same records again changed."""

from collections.abc import Iterator

from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.wording import first
from medsent.metrics.format import count, counted, percent, points
from medsent.metrics.headline import headline
from medsent.metrics.model import Comparison, Metrics
from medsent.metrics.repeats import RepeatedChange, RepeatedComparison, RepeatedVariant, Repeats


def asked_again(metrics: Metrics) -> Iterator[Said]:
    """Say of each variant how many answers were not the same each time, and what moved by it."""
    if metrics.repeats is None:
        return
    for name, variant in _asked(metrics.repeats):
        macro = variant.overall["macro_f1"]
        yield Said(
            f"Asked {metrics.repeats.times} times, {name} {_told(variant)}.",
            {
                "times": metrics.repeats.times,
                "asked": variant.asked,
                "answered_each_time": variant.answered,
                "records_flipped": variant.flipped,
                "labels_flipped": variant.flips,
                "sometimes_answered": variant.sometimes_answered,
                "macro_f1_lowest": macro.low,
                "macro_f1_highest": macro.high,
            },
            variants=[name],
        )


def within_repeats(metrics: Metrics) -> Iterator[Said]:
    """Name the differences that are not larger than what the two figures moved by when repeated."""
    for pair, again in _compared(metrics):
        labels = [label for label, change in again.labels.items() if change.is_within]
        whole = _within(metrics, pair, again)
        sentences = [] if whole is None else [whole]
        if labels:
            sentences.append(
                f"The difference in F1 between {pair.candidate} and {pair.baseline} is not larger "
                f"than what asking again moves it by for {first(labels)}."
            )
        if sentences:
            change = _headline(pair, again)[1]
            numbers = {
                "difference": change.difference,
                "moved": change.moved,
                "labels_within": len(labels),
            }
            names = [pair.baseline, pair.candidate]
            yield Said(" ".join(sentences), numbers, variants=names, labels=labels)


def told(metrics: Metrics) -> Iterator[str]:
    """Yield what the repeats come to in sentences, for who reads no report."""
    if metrics.repeats is None:
        return
    times, records = metrics.repeats.times, counted(metrics.repeats.records, "record")
    if not metrics.repeats.records:
        yield f"asked {times} times, but no record is in every repeat: nothing can be said"
        return
    if metrics.repeats.left_out:
        yield (
            f"of the repeats {records} are compared; {count(metrics.repeats.left_out)} are not in "
            "every one"
        )
    for name, variant in _asked(metrics.repeats):
        yield f"asked {times} times, {name} {_told(variant)}"
    yield from within(metrics)


def within(metrics: Metrics) -> Iterator[str]:
    """Yield a sentence for each comparison whose difference may come from repeating alone."""
    for pair, again in _compared(metrics):
        if sentence := _within(metrics, pair, again):
            yield sentence


def _asked(repeats: Repeats) -> Iterator[tuple[str, RepeatedVariant]]:
    return ((name, each) for name, each in repeats.variants.items() if each.asked)


def _compared(metrics: Metrics) -> Iterator[tuple[Comparison, RepeatedComparison]]:
    again = [] if metrics.repeats is None else metrics.repeats.comparisons
    return zip(metrics.comparisons, again, strict=False)


def _told(variant: RepeatedVariant) -> str:
    """Write how many answers of a variant flipped, and how far its macro F1 moved."""
    if not variant.answered and not variant.sometimes_answered:
        return f"gave a usable answer to none of {counted(variant.asked, 'record')}"
    answered = counted(variant.answered, "record")
    if variant.flipped:
        parts = [
            f"did not give the same answer each time to {count(variant.flipped)} of {answered} "
            f"({counted(variant.flips, 'label')} flipped)"
        ]
    else:
        parts = [f"gave the same answer each time to all of {answered}"]
    if variant.sometimes_answered:
        parts.append(
            f"gave a usable answer to {count(variant.sometimes_answered)} others at some times only"
        )
    macro = variant.overall["macro_f1"]
    if macro.width:
        parts.append(f"its macro F1 was {percent(macro.low)} to {percent(macro.high)}")
    return ", and ".join(parts)


def _headline(pair: Comparison, again: RepeatedComparison) -> tuple[str, RepeatedChange]:
    """Return the name of the figure that decides, and what repeating moves of it."""
    name, change = headline(pair)
    key = next(key for key, each in pair.overall.items() if each is change)
    return name, again.overall[key]


def _within(metrics: Metrics, pair: Comparison, again: RepeatedComparison) -> str | None:
    name, change = _headline(pair, again)
    if change.moved is None or not change.is_within or metrics.repeats is None:
        return None
    records = f" on the {count(metrics.repeats.records)} records that every time has scored"
    return (
        f"The difference in {name} between {pair.candidate} and {pair.baseline}"
        f"{records if metrics.repeats.left_out else ''}, "
        f"{points(change.difference)} points, is not larger than what asking the same records "
        f"again moves the two by, {100 * change.moved:.1f} points: how requests were batched may "
        "alone have made it."
    )
