"""From the differences of a comparison to its verdict."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from medsent.metrics.statistics.changes import SUPPORTED, Change
from medsent.metrics.statistics.estimates import FEW_OPINIONS, opinions_with
from medsent.metrics.statistics.replicates import SUCCESS
from medsent.metrics.verdict import Decision, Judged, Margins, Verdict, decide
from medsent.reducer.pairs import BOTH, Pair

_MOST: Final = 0.5
"""The fewest labels that together make up this share of the variance are to be collected."""
_NEVER: Final = 1e6
"""More opinions than this are not asked for: such a number is no useful advice."""


def opinions_of(pair: Pair) -> int | None:
    """Return about how many opinions the two are compared on; None where there are none.

    The sketch holds at most 64 of them, chosen at random, each with its number of records. The
    result is exact with up to 64 opinions, and where all have equally many records.
    """
    known = pair.opinions
    if not len(known):
        return None
    return round(pair.baseline.statuses[BOTH] / float(known.records.mean()))


def judge(
    overall: Mapping[str, Change], labels: Mapping[str, Change], margins: Margins, pair: Pair
) -> Verdict:
    """Return the verdict on a pair, from what is known of its differences; labels in its order."""
    macro, opinions = overall[SUPPORTED], opinions_of(pair)
    of_macro = judged(macro, margins.overall, opinions, widened=_widened(macro, pair))
    of_answers = judged(overall[SUCCESS], margins.overall, opinions)
    with_label = _with_label(pair, labels)
    of_labels = {
        name: judged(change, margin, opinions, with_label.get(name))
        for name, change in labels.items()
        if (margin := margins.of_label(name)) is not None
    }
    for name in margins.labels:
        if name not in labels:
            of_labels[name] = Judged(decision="cannot_tell", margin=margins.labels[name])
    blocking = [name for name, each in of_labels.items() if each.decision == "block"]
    undecided = [
        name
        for name, each in of_labels.items()
        if each.lower or (name in margins.labels and each.decision == "cannot_tell")
    ]
    found = Verdict(
        decision=_together(of_macro, of_answers, blocking, undecided),
        better=macro.difference.low is not None and macro.difference.low > 0,
        macro_f1=of_macro,
        usable_answers=of_answers,
        labels=of_labels,
        blocking=blocking,
        undecided=undecided,
    )
    return found if found.decision != "cannot_tell" else _with_needs(found, macro, list(labels))


def _with_label(pair: Pair, labels: Iterable[str]) -> dict[str, int]:
    """Return how many opinions have each label in gold; nothing without replicates."""
    if pair.resampled is None:
        return {}
    return dict(zip(labels, opinions_with(pair.resampled[0].positives).tolist(), strict=True))


def _widened(macro: Change, pair: Pair) -> float:
    """Return by what factor the variance of macro F1 grows once labels count that are now too rare.

    With more opinions, these labels enter the average. The variance of a label's difference is
    taken to be a constant divided by the number of records that have the label. The constant is
    the median over the labels that count now.
    """
    if macro.shares is None:
        return 1.0
    shares, positives = np.array(macro.shares), pair.baseline.tp + pair.baseline.fn
    counts, rare = shares != 0, (shares == 0) & (positives > 0)
    if not rare.any():
        return 1.0
    each = float(np.median(shares[counts] * positives[counts]))
    number = counts.sum() / (counts.sum() + rare.sum())
    return float(max(1.0, number**2 * (1 + (each / (positives[rare] + 1)).sum())))


def _together(
    macro: Judged, answers: Judged, blocking: Sequence[str], undecided: Sequence[str]
) -> Decision:
    if blocking or "block" in (macro.decision, answers.decision):
        return "block"
    if undecided or answers.lower or macro.decision == "cannot_tell":
        return "cannot_tell"
    return "ship"


def _with_needs(found: Verdict, macro: Change, labels: Sequence[str]) -> Verdict:
    """Return the verdict with how many opinions would tell, and which."""
    asked = [found.labels[name] for name in found.undecided]
    asked += [found.macro_f1] if found.macro_f1.decision == "cannot_tell" else []
    asked += [found.usable_answers] if found.usable_answers.lower else []
    known = [each for each in asked if each.opinions_needed is not None]
    collect = list(found.undecided)
    if found.macro_f1.decision == "cannot_tell":
        collect += [name for name in _widest(macro, labels) if name not in collect]
    most: dict[str, int | None] = {}
    # If no number of opinions would decide one of the figures, the others' numbers do not help.
    if known and len(known) == len(asked):
        for name in ("opinions_needed", "opinions_needed_low", "opinions_needed_high"):
            most[name] = _largest(getattr(each, name) for each in known)
    return found.model_copy(update={**most, "collect": collect})


def _largest(numbers: Iterable[int | None]) -> int | None:
    return max((number for number in numbers if number is not None), default=None)


def _widest(macro: Change, labels: Sequence[str]) -> list[str]:
    """Return the fewest labels that make up half of the variance of macro F1's difference."""
    if macro.shares is None:
        return []
    shares = np.array(macro.shares)
    order = np.argsort(-shares, kind="stable")
    number = int(np.searchsorted(np.cumsum(shares[order]), _MOST)) + 1
    return [labels[i] for i in order[:number]]


def judged(
    change: Change,
    margin: float,
    opinions: int | None,
    with_label: int | None = None,
    widened: float = 1.0,
) -> Judged:
    """Return what is said of one figure, and how many opinions would tell where it cannot be.

    `opinions` is how many are compared. For a label, `with_label` of these have it in gold; if that
    is too few for an interval, the answer is how many opinions would hold enough, at the rate that
    one more would give.
    For macro F1, `widened` is the factor by which labels that are too rare now, and would count
    then, increase the variance.
    """
    bounds = change.deciding
    found = Judged(
        decision=decide(bounds.low, bounds.high, margin),
        margin=margin,
        low=bounds.low,
        high=bounds.high,
    )
    if found.decision != "cannot_tell" or opinions is None:
        return found
    few = change.disagreements
    if change.contrast is not None:
        return _more(found, change, margin, opinions, widened)
    if few is not None:
        needed = few.times(margin, change.number)
        return found.model_copy(update={"opinions_needed": _count(opinions, needed)})
    if change.difference.none == "too_few_opinions" and with_label is not None:
        # Plus one: labels get here because they were seen seldom; see `records_needed`.
        needed = FEW_OPINIONS / (with_label + 1) if with_label else None
        return found.model_copy(update={"opinions_needed": _count(opinions, needed)})
    return found


def _more(found: Judged, change: Change, margin: float, opinions: int, widened: float) -> Judged:
    """Return it with the number of opinions that would tell."""
    assert change.contrast is not None
    contrast = change.contrast
    scarce = margin * (change.influence or 0.0) / contrast.se(contrast.difference) ** 2
    # A variance that is n times as large has the effect of a margin that is sqrt(n) times smaller.
    hidden = math.sqrt(max(widened, scarce))
    times = contrast.times(margin / hidden, change.number)
    if times is not None and times <= 1:  # these would have told: it is near the margin
        times = contrast.times(abs(contrast.difference + margin) / hidden, change.number)
    needed = _count(opinions, times)
    if needed is None or times is None or times <= 1:
        return found
    low, high = (_count(opinions, max(times * off, 1.0)) for off in contrast.spread_of_times())
    return found.model_copy(
        update={
            "opinions_needed": needed,
            "opinions_needed_low": low,
            "opinions_needed_high": high,
        }
    )


def _count(opinions: int, times: float | None) -> int | None:
    if times is None or opinions * times > _NEVER:
        return None
    return math.ceil(opinions * times)
