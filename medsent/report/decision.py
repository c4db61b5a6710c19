"""A comparison's verdict in a sentence, as a report opens with it and a command prints it."""

from collections.abc import Sequence
from typing import Final

from medsent.metrics.estimate import value_of
from medsent.metrics.findings.wording import first, gap, listed
from medsent.metrics.format import count, counted, percent, points, signed_interval
from medsent.metrics.headline import headline
from medsent.metrics.model import Change, Comparison
from medsent.metrics.significance import direction, untested
from medsent.metrics.verdict import Decision, Verdict

_NAMED: Final = 2

WORDS: Final[dict[Decision, str]] = {
    "ship": "Ship",
    "block": "Block",
    "cannot_tell": "Cannot tell",
}


def decided(pair: Comparison) -> str:
    """Return the verdict with the figure that decides; in an older report, the figure alone."""
    told = compared(pair)
    found = pair.verdict
    if found is None:
        return told
    start = f"{WORDS[found.decision]}: "
    if found.decision == "ship":
        return start + _shipped(pair, found, told)
    if found.decision == "block":
        return start + _blocked(pair, found, told)
    told = told.removesuffix(".").replace("It was", "it was", 1)
    return f"{start}{told}; {_needed(pair, found)}."


def short(pair: Comparison) -> str:
    """Return the same as a command prints it: the verdict, the pair, the figure."""
    name, change = headline(pair)
    verdict = "" if pair.verdict is None else f"{WORDS[pair.verdict.decision]}: "
    told = f"{verdict}{pair.candidate} against {pair.baseline}, {name} {gap(change)}"
    found = pair.verdict
    if found is None:
        return told
    if found.macro_f1.decision == "ship" and change.p is None:
        most = 100 * (found.macro_f1.high or 0.0)
        told += f", at most {most:.1f}" if most else ", no label of any record differs"
    if found.decision == "block":
        return f"{told}; {_why_blocked(pair, found)}"
    if found.decision == "cannot_tell":
        return f"{told}; {_needed(pair, found)}"
    return told


def compared(pair: Comparison) -> str:
    """Say whether the candidate was found to be better or worse, and by how much."""
    _, change = headline(pair)
    figure = change.difference
    if figure is None:
        return (
            f"{pair.candidate} and {pair.baseline} cannot be compared by macro F1: it is "
            "undefined for at least one of them."
        )
    than = f"than {pair.baseline} on average: {_values(change)}, a difference of "
    if change.p is None:
        return (
            f"It was not tested whether {pair.candidate} is better {than}{points(figure.value)} "
            f"points, without interval: {untested(change)}."
        )
    found = {
        "higher": f"is better {than}{gap(change)}, more than chance would give",
        "lower": f"is worse {than}{gap(change)}, more than chance would give",
    }.get(direction(change), f"was not found to be better or worse {than}{gap(change)}")
    return f"{pair.candidate} {found}."


def _values(change: Change) -> str:
    return f"macro F1 {percent(change.candidate)} against {percent(change.baseline)}"


def _shipped(pair: Comparison, found: Verdict, told: str) -> str:
    if found.better:
        return told
    change, margin = headline(pair)[1], _points(found.macro_f1.margin)
    if change.p is not None:
        return (
            f"{pair.candidate} is at most {margin} points worse than {pair.baseline} on average: "
            f"{_values(change)}, a difference of {gap(change)}."
        )
    if not found.macro_f1.high:
        return (
            f"{pair.candidate} and {pair.baseline} are right and wrong about the same labels of "
            f"all {counted(pair.records, 'record')}{_of_opinions(pair)}: {_values(change)}."
        )
    return (
        f"{pair.candidate} is at most {margin} points worse than {pair.baseline} on average: "
        f"{_values(change)}, and they disagree so seldom that the difference is at most "
        f"{100 * found.macro_f1.high:.1f}."
    )


def _of_opinions(pair: Comparison) -> str:
    return "" if pair.opinions is None else f" of {counted(pair.opinions, 'opinion')}"


def _blocked(pair: Comparison, found: Verdict, told: str) -> str:
    if found.macro_f1.decision == "block":
        by = f"by more than {_points(found.macro_f1.margin)} points on average"
        return told.replace(f"{pair.baseline} on average", f"{pair.baseline} {by}", 1)
    return f"{_why_blocked(pair, found)}, while {told.replace('It was', 'it was', 1)}"


def _why_blocked(pair: Comparison, found: Verdict) -> str:
    """Say what blocks; of labels the worst with its figures, and a few names."""
    if found.macro_f1.decision == "block":
        return f"worse by more than {_points(found.macro_f1.margin)} points"
    if found.blocking:
        worst = min(found.blocking, key=lambda name: value_of(pair.labels[name].difference) or 0.0)
        figure = pair.labels[worst].simultaneous
        return (
            f"{worst} is worse by more than {_points(found.labels[worst].margin)} points with "
            f"{pair.candidate}, {points(value_of(figure))} (corrected interval "
            f"{signed_interval(figure)}){_as_are([n for n in found.blocking if n != worst])}"
        )
    change = pair.overall["generation_success_rate"]
    return (
        f"{pair.candidate} gives a usable answer to {percent(change.candidate)} of the records "
        f"and {pair.baseline} to {percent(change.baseline)}, worse by more than "
        f"{_points(found.usable_answers.margin)} points"
    )


def _as_are(others: Sequence[str]) -> str:
    if not others:
        return ""
    named = listed(others) if len(others) <= _NAMED else f"{len(others)} other labels"
    return f", as {'is' if len(others) == 1 else 'are'} {named}"


def _needed(pair: Comparison, found: Verdict) -> str:
    """Say what keeps it from being told, and about how many opinions would tell."""
    who, how = _in_question(found)
    how += _judged_lower(pair, found)
    if found.opinions_needed is None or pair.opinions is None:
        return f"{who} may be worse by more than {how}"
    verb = "are" if len(found.undecided) > 1 and found.macro_f1.decision == "ship" else "is"
    return (
        f"about {count(_rounded(found.opinions_needed))} opinions in place of "
        f"{count(pair.opinions)} would mostly tell whether {who} {verb} worse by more than {how}"
    )


def _in_question(found: Verdict) -> tuple[str, str]:
    """Return what may be worse, and by more than what."""
    if found.macro_f1.decision == "cannot_tell":
        return "it", f"{_points(found.macro_f1.margin)} points"
    if found.undecided:
        margins = {found.labels[name].margin for name in found.undecided}
        by = f"{_points(min(margins))} points" if len(margins) == 1 else "their margins"
        return first(found.undecided), by
    return "its share of usable answers", f"{_points(found.usable_answers.margin)} points"


def _judged_lower(pair: Comparison, found: Verdict) -> str:
    """Explain a verdict that is left open by the careful lower end, not by the interval shown."""
    shown, judged, margin = headline(pair)[1].difference, found.macro_f1.low, found.macro_f1.margin
    if shown is None or shown.low is None or judged is None or not judged < -margin <= shown.low:
        return ""
    return (
        f" (its lower end is taken as {points(judged)}, since the two disagree on few opinions, so "
        "that chance may hide a loss)"
    )


def _points(margin: float) -> str:
    return f"{100 * margin:g}"


def _rounded(number: int) -> int:
    """Return a number with two significant digits: it is an estimate."""
    return number if number < 100 else round(number, 2 - len(str(number)))
