"""Costs among a report's numbers, and the cheapest variant that is as good as the best."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from medsent.metrics.cost import Amount, Cheapest, Cost, Standing, cost_change
from medsent.metrics.estimate import defined
from medsent.metrics.model import Metrics
from medsent.metrics.statistics.changes import supported_change
from medsent.metrics.verdict import Decision, decide
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction

_AS_GOOD: Final[dict[Decision, bool | None]] = {"ship": True, "block": False, "cannot_tell": None}

Pairs = Sequence[tuple[str, str]]


def every_pair(variants: Sequence[str], compared: Pairs) -> list[tuple[str, str]]:
    """Return the pairs that are compared, and those that are wanting: any may be of the best."""
    known = set(compared)
    others = [(a, b) for a, b in combinations(variants, 2) if not {(a, b), (b, a)} & known]
    return [*compared, *others]


def with_costs(
    metrics: Metrics, state: Reduction, costs: Mapping[str, Cost], margin: float
) -> Metrics:
    """Return a report's numbers with the cost of each variant, where it is known."""
    variants = {
        name: variant.model_copy(update={"cost": costs.get(name)})
        for name, variant in metrics.variants.items()
    }
    comparisons = [
        pair.model_copy(
            update={"cost": cost_change(costs.get(pair.baseline), costs.get(pair.candidate))}
        )
        for pair in metrics.comparisons
    ]
    found = _cheapest(_differences(state), costs, margin)
    return metrics.model_copy(
        update={"variants": variants, "comparisons": comparisons, "cheapest": found}
    )


def _differences(state: Reduction) -> dict[tuple[str, str], Amount]:
    """Return the second variant's macro F1 less the first's, of all pairs in either order."""
    found = {}
    for (first, second), pair in state.pairs.get(ALL, {}).items():
        change = supported_change(pair)
        value = defined(change.candidate - change.baseline)
        if value is not None:
            bounds = change.difference
            there = Amount(value=value, low=bounds.low, high=bounds.high)
            found[first, second], found[second, first] = there, _turned(there)
    return found


def _turned(amount: Amount) -> Amount:
    low, high = (None if end is None else -end for end in (amount.high, amount.low))
    return Amount(value=-amount.value, low=low, high=high)


def _cheapest(
    differences: Mapping[tuple[str, str], Amount], costs: Mapping[str, Cost], margin: float
) -> Cheapest | None:
    """Return the choice among variants of known costs; None where two cannot be compared."""
    names = list(costs)
    currencies = {cost.currency for cost in costs.values()}
    pairs = [(a, b) for a in names for b in names if a != b]
    if len(names) < 2 or len(currencies) > 1 or not differences.keys() >= set(pairs):
        return None

    def wins(name: str) -> int:
        return sum(differences[other, name].value >= 0 for other in names if other != name)

    best = max(names, key=wins)
    beside = {
        name: Standing(difference=each, non_inferior=_AS_GOOD[decide(each.low, each.high, margin)])
        for name in names
        if name != best
        for each in [differences[best, name]]
    }
    good = [best, *(name for name, each in beside.items() if each.non_inferior)]
    return Cheapest(
        best=best,
        margin=margin,
        beside_best=beside,
        cheapest=min(good, key=lambda name: costs[name].money_per_million_records.value),
    )
