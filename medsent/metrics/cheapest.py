"""Costs among a report's numbers, and the cheapest variant that is as good as the best."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from medsent.metrics.cost import Amount, Cheapest, Cost, Standing, cost_change
from medsent.metrics.estimate import defined
from medsent.metrics.model import Metrics
from medsent.metrics.statistics.changes import supported_change
from medsent.metrics.statistics.estimates import Bounds
from medsent.metrics.verdict import Decision, decide
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction

_AS_GOOD: Final[dict[Decision, bool | None]] = {"ship": True, "block": False, "cannot_tell": None}

Pairs = Sequence[tuple[str, str]]


def every_pair(variants: Sequence[str], compared: Pairs) -> list[tuple[str, str]]:
    """Return the compared pairs, then all others: any variant may turn out to be the best."""
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


def _differences(state: Reduction) -> dict[tuple[str, str], tuple[Amount, Bounds]]:
    """Return the second variant's macro F1 less the first's, of all pairs in either order.

    Each with the ends that decide whether the second is as good.
    """
    found = {}
    for (first, second), pair in state.pairs.get(ALL, {}).items():
        for names, one in (((first, second), pair), ((second, first), pair.turned())):
            change = supported_change(one)
            value = defined(change.candidate - change.baseline)
            if value is not None:
                shown = change.difference
                there = Amount(value=value, low=shown.low, high=shown.high)
                found[names] = there, change.deciding
    return found


def _cheapest(
    differences: Mapping[tuple[str, str], tuple[Amount, Bounds]],
    costs: Mapping[str, Cost],
    margin: float,
) -> Cheapest | None:
    """Return the choice among variants of known costs; None where two cannot be compared."""
    names = list(costs)
    currencies = {cost.currency for cost in costs.values()}
    pairs = [(a, b) for a in names for b in names if a != b]
    if len(names) < 2 or len(currencies) > 1 or not differences.keys() >= set(pairs):
        return None

    def wins(name: str) -> int:
        return sum(differences[other, name][0].value >= 0 for other in names if other != name)

    best = max(names, key=wins)
    beside = {
        name: Standing(
            difference=each, non_inferior=_AS_GOOD[decide(bounds.low, bounds.high, margin)]
        )
        for name in names
        if name != best
        for each, bounds in [differences[best, name]]
    }
    good = [best, *(name for name, each in beside.items() if each.non_inferior)]
    return Cheapest(
        best=best,
        margin=margin,
        beside_best=beside,
        cheapest=min(good, key=lambda name: costs[name].money_per_million_records.value),
    )
