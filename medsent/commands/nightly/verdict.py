"""What a night's rulings come to: ship, block, or cannot tell."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from medsent.commands.nightly.gate import ANCHORS, TITLES, Gate, Ruling
from medsent.commands.nightly.settings import CannotTell
from medsent.metrics.format import count
from medsent.metrics.model import Change
from medsent.metrics.verdict import Decision, decide

_NAMED: Final = 3


def decision_on(change: Change, allowed: float) -> Decision:
    """Return the decision on a difference by its one-sided bounds or, without, by `at_most`."""
    figure = change.one_sided or change.difference
    if figure is None:
        return "cannot_tell"
    if figure.no_interval == "too_few_disagreements":
        most = change.at_most
        return "ship" if most is not None and most <= allowed else "cannot_tell"
    if figure.no_interval == "no_variation":  # all opinions alike: it is what it is
        return "block" if figure.value < -allowed else "ship"
    return decide(figure.low, figure.high, allowed)


def opinions_needed(change: Change, allowed: float, opinions: int | None) -> int | None:
    """Return about how many opinions would show an equally good variant to be so, on 4 of 5 nights.

    None where that is not known, or these are already as many: the difference is near the limit.
    """
    if change.detectable_one_sided is None or opinions is None or not allowed:
        return None
    times = (change.detectable_one_sided / allowed) ** 2
    return math.ceil(opinions * times) if times > 1 else None


def by_policy(rulings: Sequence[Ruling], policy: CannotTell) -> Iterator[Ruling]:
    """Yield the rulings; by policy `close`, a required one that cannot be told closes the gate."""
    for ruling in rulings:
        if policy == "close" and _wanting(ruling):
            message = f"{ruling.message}; the gate closes where it cannot tell"
            yield ruling.model_copy(update={"status": "closes", "message": message})
        else:
            yield ruling


def conclude(rulings: Sequence[Ruling]) -> Decision:
    """Return the verdict on a night.

    `block` where any rule closes, but for not being able to tell. Else `ship` where all that has to
    be shown to be as good is, and nothing else is worse beyond chance and perhaps by
    more than its limit. Else `cannot_tell`, as where there was nothing to compare with.
    """
    if any(each.status == "closes" and not _wanting(each) for each in rulings):
        return "block"
    if in_question(rulings) or not any(each.required for each in rulings):
        return "cannot_tell"
    return "ship"


def in_question(rulings: Sequence[Ruling]) -> list[Ruling]:
    """Return the rulings that keep a night from being shipped, though they do not block it."""
    return [
        each
        for each in rulings
        if _wanting(each)
        or (each.decision == "cannot_tell" and each.high is not None and each.high < 0)
    ]


def _wanting(ruling: Ruling) -> bool:
    return ruling.required and ruling.decision == "cannot_tell"


def verdict_told(gate: Gate) -> str | None:
    """Say what the verdict rests on; None for earlier versions' nights, without any."""
    if gate.decision is None:
        return None
    if gate.decision == "block":
        return "Verdict: block."
    if gate.decision == "ship":
        return "Verdict: ship; every figure that must be as good was shown to be within its limit."
    found = in_question(gate.rules)
    if not found:
        return "Verdict: cannot tell, since no figure that must be as good was compared."
    names = [_name(each) for each in found[:_NAMED]]
    more = f" and {count(len(found) - _NAMED)} more" if len(found) > _NAMED else ""
    needed = [each.opinions_needed for each in found]
    known = [number for number in needed if number is not None]
    enough = (
        f"; about {count(max(known))} opinions would mostly tell"
        if len(known) == len(needed)
        else ""
    )
    return f"Verdict: cannot tell of {', '.join(names)}{more}{enough}."


def _name(ruling: Ruling) -> str:
    title = TITLES[ruling.rule]
    what = ruling.subject or (title if title[:2].isupper() else title[:1].lower() + title[1:])
    against = f" against {ANCHORS[ruling.against]}" if ruling.against else ""
    return f"{what} of {ruling.variant}{against}"
