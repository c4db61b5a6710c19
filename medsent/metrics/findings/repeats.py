"""Rules on what asking the same records again changed."""

from collections.abc import Iterator

from medsent.metrics.estimate import value_of
from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.wording import first
from medsent.metrics.format import counted, percent, points
from medsent.metrics.headline import headline
from medsent.metrics.model import Change, Comparison, Metrics
from medsent.metrics.repeats import RepeatedVariant


def asked_again(metrics: Metrics) -> Iterator[Said]:
    """Say of each variant how many answers were not the same each time, and what moved by it."""
    if metrics.repeats is None:
        return
    times = metrics.repeats.times
    for name, variant in metrics.repeats.variants.items():
        macro = variant.overall["macro_f1"]
        yield Said(
            f"Asked {times} times, {name} {told(variant)}.",
            {
                "times": times,
                "answered_each_time": variant.answered,
                "records_flipped": variant.flipped,
                "labels_flipped": sum(each.flips for each in variant.labels.values()),
                "sometimes_answered": variant.sometimes_answered,
                "macro_f1_lowest": macro.low,
                "macro_f1_highest": macro.high,
            },
            variants=[name],
        )


def told(variant: RepeatedVariant) -> str:
    """Write how many answers of a variant flipped, and how far its macro F1 moved."""
    answered = counted(variant.answered, "record")
    if not variant.flipped and not variant.sometimes_answered:
        same = f"gave the same answer to each of {answered} each time"
        return same if variant.answered else "gave no usable answer"
    labels = sum(each.flips for each in variant.labels.values())
    share = labels / (variant.answered * len(variant.labels)) if variant.answered else 0.0
    parts = [
        f"did not give the same answer each time to {variant.flipped:,} of {answered} "
        f"({percent(share)} of the labels flipped)"
    ]
    if variant.sometimes_answered:
        parts.append(
            f"gave a usable answer to {variant.sometimes_answered:,} others at some times only"
        )
    macro = variant.overall["macro_f1"]
    if macro.low is not None:
        parts.append(f"its macro F1 was {percent(macro.low)} to {percent(macro.high)}")
    return ", and ".join(parts)


def within_repeats(metrics: Metrics) -> Iterator[Said]:
    """Name the differences that are not larger than what the two figures moved by when repeated."""
    for pair in metrics.comparisons:
        labels = [label for label, change in pair.labels.items() if is_within(change)]
        whole = within(pair)
        sentences = [] if whole is None else [whole]
        if labels:
            sentences.append(
                f"The difference in F1 between {pair.candidate} and {pair.baseline} is not larger "
                f"than what asking again moves it by for {first(labels)}."
            )
        if sentences:
            _, change = headline(pair)
            numbers = {
                "difference": value_of(change.difference),
                "moved_by_repeats": change.moved_by_repeats,
                "labels_within": len(labels),
            }
            names = [pair.baseline, pair.candidate]
            yield Said(" ".join(sentences), numbers, variants=names, labels=labels)


def within(pair: Comparison) -> str | None:
    """Say that the difference that decides may come from repeating alone; None where it may not."""
    name, change = headline(pair)
    if change.moved_by_repeats is None or not is_within(change):
        return None
    return (
        f"The difference in {name} between {pair.candidate} and {pair.baseline}, "
        f"{points(value_of(change.difference))} points, is not larger than what asking the same "
        f"records again moves the two by, {100 * change.moved_by_repeats:.1f} points: how requests "
        "were batched may alone have made it."
    )


def is_within(change: Change) -> bool:
    """Tell whether a difference, which is there, may come from repeating alone."""
    by, difference = change.moved_by_repeats, value_of(change.difference)
    return by is not None and difference is not None and 0 < abs(difference) <= by
