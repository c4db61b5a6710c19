"""What a million records cost with each variant, beside how good it is."""

from collections.abc import Iterator

from medsent.metrics.cost import Amount, Cheapest, Cost
from medsent.metrics.estimate import value_of
from medsent.metrics.findings.wording import listed
from medsent.metrics.format import MINUS, percent, seconds, significant
from medsent.metrics.headline import headline, is_evaluated
from medsent.metrics.model import Comparison, Metrics
from medsent.report.document import Block, Cell, Column, KeyFigure, Table, undefined
from medsent.report.tables.cells import difference_cell

_WH_J = 3600
_SHORT = "no interval: the run is too short to tell how its pace varies"


def money(amount: float, currency: str) -> str:
    """Print a sum of 0 or more, to three digits: the pace is not known to more."""
    return f"{significant(amount)} {currency}"


def cost_sentences(metrics: Metrics) -> Iterator[str]:
    """Say what a million records cost with each variant, and which is the cheapest good one."""
    costs = _costs(metrics)
    if not costs:
        return
    each = [
        f"{money(cost.money_per_million_records.value, cost.currency)} with {name}"
        for name, cost in costs.items()
    ]
    told = f"A million records cost {listed(each)}"
    pairs = [pair for pair in metrics.comparisons if pair.cost is not None]
    yield f"{told}{_gap(pairs[0]) if len(pairs) == 1 else ''}."
    if metrics.cheapest is not None:
        yield _choice(metrics.cheapest, costs)
    elif len({cost.currency for cost in costs.values()}) > 1:
        yield "These are two currencies, so that the costs are not compared."
    elif len(costs) > 1 and is_evaluated(metrics) and metrics.route is None:
        yield "No label has opinions enough to tell which variant is as good as the best."


def _gap(pair: Comparison) -> str:
    if pair.cost is None:
        return ""
    amount = pair.cost.money_per_million_records
    size = money(abs(amount.value), pair.cost.currency)
    way = "more" if amount.value > 0 else "less"
    told = f": {size} {way} with {pair.candidate} than with {pair.baseline}"
    if amount.low is None or amount.high is None:
        return f"{told} (no interval: the run is too short)"
    unclear = ", which may be chance" if amount.low <= 0 <= amount.high else ""
    return f"{told} (95% interval {_interval(amount, signed=True)}){unclear}"


def _choice(choice: Cheapest, costs: dict[str, Cost]) -> str:
    """Say which variant to pay for, and which cheaper one might do."""
    price = {name: cost.money_per_million_records.value for name, cost in costs.items()}
    bar = f"at most {100 * choice.margin:g} points of macro F1 below the best, {choice.best}"
    if choice.cheapest != choice.best:
        told = f"The cheapest that was shown to be {bar}, is {choice.cheapest}"
    elif min(price.values()) == price[choice.best]:
        return f"{choice.best} is the best by macro F1, and none is cheaper."
    else:
        told = f"No cheaper variant was shown to be {bar}"
    unsure = [
        name
        for name, beside in choice.beside_best.items()
        if beside.non_inferior is None and price[name] < price[choice.cheapest]
    ]
    if unsure:
        told += f"; of {listed(unsure)}, which costs less, these opinions cannot tell"
    return f"{told}."


def cost_figure(metrics: Metrics) -> Iterator[KeyFigure]:
    """Yield the cost of a million records, the candidate's first where there is one."""
    costs = _costs(metrics)
    main = metrics.comparisons[0].candidate if metrics.comparisons else next(iter(costs), "")
    if main not in costs:
        return
    told = {
        name: money(cost.money_per_million_records.value, cost.currency)
        for name, cost in costs.items()
    }
    others = [f"{name} {each}" for name, each in told.items() if name != main]
    yield KeyFigure("Cost of a million records", told[main], "; ".join([main, *others]))


def cost_tables(metrics: Metrics) -> Iterator[Block]:
    """Yield what each variant costs beside its quality, and the same of each comparison."""
    costs = _costs(metrics)
    if not costs:
        return
    yield _by_variant(metrics, costs)
    if any(pair.cost is not None for pair in metrics.comparisons):
        yield _by_comparison(metrics)


def _by_variant(metrics: Metrics, costs: dict[str, Cost]) -> Table:
    on_gpus = any(cost.gpu_hours_per_million_records for cost in costs.values())
    measured = any(cost.joules_per_million_records is not None for cost in costs.values())
    columns = [
        Column("Variant", "text"),
        Column("Cost", define="cost"),
        Column("Engine hours", define="cost"),
        *([Column("GPU hours", define="cost")] if on_gpus else []),
        *([Column("Energy of the GPUs, kWh", define="cost")] if measured else []),
        Column("Shared time", define="cost"),
        *([Column("Macro F1")] if metrics.cheapest else []),
        *([Column("Beside the best", "text", define="cost")] if metrics.cheapest else []),
    ]
    rows = []
    for name, cost in costs.items():
        row = [
            Cell(name),
            _amount(cost.money_per_million_records, cost.currency),
            _amount(cost.replica_hours_per_million_records),
        ]
        if on_gpus:
            row.append(_amount(cost.gpu_hours_per_million_records))
        if measured:
            row.append(_energy(cost))
        row.append(Cell(percent(cost.shared), cost.shared))
        if metrics.cheapest:
            value = value_of(metrics.variants[name].overall.macro_f1)
            row += [Cell(percent(value), value), Cell(_standing(metrics.cheapest, name))]
        rows.append(row)
    return Table("Cost of a million records, by variant", columns, rows, list(_notes(metrics)))


def _notes(metrics: Metrics) -> Iterator[str]:
    yield "At the pace of this run while it scored; intervals show how that pace varied."
    start_up_s = metrics.timing.start_up_s
    if start_up_s is not None:
        yield f"The engines' start, {seconds(start_up_s)} here, comes on top."


def _by_comparison(metrics: Metrics) -> Table:
    rows = []
    for pair in metrics.comparisons:
        if pair.cost is None:
            continue
        relative = pair.cost.relative
        rows.append(
            [
                Cell(f"{pair.candidate} against {pair.baseline}"),
                _amount(pair.cost.money_per_million_records, pair.cost.currency, signed=True),
                undefined("the baseline costs nothing")
                if relative is None
                else Cell(f"{_signed(100 * relative)}%", relative),
                difference_cell(headline(pair)[1]),
            ]
        )
    columns = [
        Column("Comparison", "text"),
        Column("Cost, difference", define="cost"),
        Column("In percent"),
        Column("Macro F1, difference in points"),
    ]
    return Table("Difference in cost, and in quality", columns, rows)


def _standing(choice: Cheapest, name: str) -> str:
    if name == choice.best:
        return "the best"
    good = choice.beside_best[name].non_inferior
    if good is None:
        return "cannot tell"
    return f"at most {100 * choice.margin:g} points lower" if good else "lower by more"


def _amount(amount: Amount | None, currency: str = "", *, signed: bool = False) -> Cell:
    if amount is None:
        return undefined("not measured")
    number = _signed(amount.value) if signed else significant(amount.value)
    interval = _interval(amount, signed=signed)
    reason = None if interval else _SHORT
    return Cell(f"{number} {currency}".rstrip(), amount.value, interval=interval, reason=reason)


def _energy(cost: Cost) -> Cell:
    joules = cost.joules_per_million_records
    if joules is None:
        return undefined("not measured")
    kwh = joules / _WH_J / 1000
    return Cell(significant(kwh), kwh)


def _interval(amount: Amount, *, signed: bool) -> str | None:
    if amount.low is None or amount.high is None:
        return None
    low, high = (_signed(e) if signed else significant(e) for e in (amount.low, amount.high))
    return f"{low} to {high}"


def _signed(value: float) -> str:
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return f"{sign}{significant(abs(value))}"


def _costs(metrics: Metrics) -> dict[str, Cost]:
    return {name: each.cost for name, each in metrics.variants.items() if each.cost is not None}
