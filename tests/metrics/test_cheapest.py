"""The cheapest variant that is as good as the best, from what each answers and costs."""

import numpy as np
import numpy.typing as npt

from medsent.config.labels import LABELS
from medsent.metrics.build import build_metrics
from medsent.metrics.cheapest import every_pair, with_costs
from medsent.metrics.cost import Amount, Cost
from medsent.metrics.model import Comparison, Metrics, Run
from medsent.metrics.verdict import Margins
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.decision import decided
from tests.predicted import Answers, batch

ROWS = 800
GOLD = (np.random.default_rng(0).random((ROWS, 21)) < 0.4).astype(np.int8)


def flipped(share: float, seed: int) -> npt.NDArray[np.int8]:
    flips = np.random.default_rng(seed).random(GOLD.shape) < share
    return np.where(flips, 1 - GOLD, GOLD).astype(np.int8)


ANSWERS = {"good": flipped(0.1, 1), "alike": flipped(0.1, 2), "worse": flipped(0.3, 3)}


def priced(
    costs: dict[str, float],
    *,
    margin: float = 0.02,
    replicates: int = 200,
    currencies: tuple[str, ...] = ("USD",),
    gold: npt.NDArray[np.int8] = GOLD,
) -> Metrics:
    """Return a report that compares the worse variant with the good one alone."""
    compared = [("good", "worse")]
    scope = Scope.of(
        list(ANSWERS), LABELS, pairs=every_pair(list(ANSWERS), compared), replicates=replicates
    )
    columns = {"opinion_id": [str(index // 2) for index in range(ROWS)]}
    rows = batch(gold, {name: Answers(labels) for name, labels in ANSWERS.items()}, columns)
    state = reduce_batches([rows], scope)
    built = build_metrics(state, run=Run(name="r", fingerprint="f"), compared=compared)
    known = {
        name: Cost(
            replica_hours_per_million_records=Amount(value=1.0),
            shared=0.0,
            money_per_million_records=Amount(value=cost, low=cost - 1, high=cost + 1),
            currency=currencies[index % len(currencies)],
        )
        for index, (name, cost) in enumerate(costs.items())
    }
    return with_costs(built, state, known, margin)


def test_every_pair_is_weighed_and_the_configured_ones_are_compared() -> None:
    compared = [("b", "a")]
    assert every_pair(("a", "b", "c"), compared) == [("b", "a"), ("a", "c"), ("b", "c")]
    found = priced({"good": 30.0, "alike": 20.0, "worse": 10.0})
    assert [(pair.baseline, pair.candidate) for pair in found.comparisons] == [("good", "worse")]


def test_what_costs_less_is_taken_where_it_is_as_good() -> None:
    found = priced({"good": 30.0, "alike": 20.0, "worse": 10.0})
    choice = found.cheapest
    assert choice is not None
    best, other = (choice.best, {"good": "alike", "alike": "good"}[choice.best])
    assert {best, other} == {"good", "alike"}
    assert choice.cheapest == "alike"
    assert choice.beside_best[other].non_inferior is True
    assert choice.beside_best["worse"].non_inferior is False
    difference = choice.beside_best["worse"].difference
    assert difference.high is not None
    assert difference.value < difference.high < -choice.margin
    change = found.comparisons[0].cost
    assert change is not None
    assert change.money_per_million_records.value == -20.0
    assert found.variants["worse"].cost is not None
    assert found.variants["worse"].cost.money_per_million_records.value == 10.0


def test_a_difference_that_turns_around_has_its_ends_turned() -> None:
    found = priced({"good": 30.0, "alike": 20.0, "worse": 10.0})
    pair = found.comparisons[0].overall["macro_f1_supported"].difference
    assert found.cheapest is not None
    if found.cheapest.best == "good":
        beside = found.cheapest.beside_best["worse"].difference
        assert pair is not None
        assert (beside.value, beside.low, beside.high) == (pair.value, pair.low, pair.high)
    (mirror,) = [
        each.difference for each in found.cheapest.beside_best.values() if each.non_inferior is True
    ]
    assert mirror.low is not None
    assert mirror.high is not None
    assert mirror.low < mirror.value <= 0 < mirror.high


def test_the_margin_decides() -> None:
    wide = priced({"good": 30.0, "alike": 20.0, "worse": 10.0}, margin=0.5)
    assert wide.cheapest is not None
    assert wide.cheapest.cheapest == "worse"
    narrow = priced({"good": 30.0, "alike": 20.0, "worse": 10.0}, margin=0.0)
    assert narrow.cheapest is not None
    assert narrow.cheapest.cheapest == narrow.cheapest.best
    assert None in {each.non_inferior for each in narrow.cheapest.beside_best.values()}


def test_nothing_is_shown_without_intervals() -> None:
    choice = priced({"good": 30.0, "alike": 20.0, "worse": 10.0}, replicates=0).cheapest
    assert choice is not None
    assert {each.non_inferior for each in choice.beside_best.values()} == {None}
    assert choice.cheapest == choice.best


def test_there_is_no_choice_where_costs_or_figures_cannot_be_compared() -> None:
    assert priced({"good": 30.0}).cheapest is None
    two = priced({"good": 30.0, "worse": 10.0}, currencies=("USD", "EUR"))
    assert two.cheapest is None
    assert two.comparisons[0].cost is None
    assert priced({"good": 3.0, "worse": 1.0}, gold=np.full_like(GOLD, -1)).cheapest is None


def test_numbers_without_a_price_say_nothing_of_one() -> None:
    text = priced({}).to_json()
    assert '"cost"' not in text
    assert '"cheapest"' not in text
    assert Metrics.model_validate_json(text).cheapest is None


def test_it_is_as_good_by_what_the_verdict_goes_by() -> None:
    """Where two disagree on few opinions, their interval alone would say so too soon."""
    labels, names = ("anger", "joy"), ("good", "damaged")
    gold = (np.random.default_rng(0).random((600, 2)) < 0.2).astype(np.int8)
    damaged = gold.copy()
    damaged[np.flatnonzero(gold[:, 0])[:8], 0] = 0
    scope = Scope.of(names, labels, pairs=[names], replicates=400)
    columns = {"opinion_id": [str(index) for index in range(len(gold))]}
    answers = dict(zip(names, map(Answers, (gold, damaged)), strict=True))
    state = reduce_batches([batch(gold, answers, columns, labels)], scope)
    one = Amount(value=1.0)
    cost = Cost(
        replica_hours_per_million_records=one,
        shared=0.0,
        money_per_million_records=one,
        currency="USD",
    )

    def judged(margin: float) -> tuple[Comparison, bool | None]:
        built = build_metrics(state, run=Run(name="r", fingerprint="f"), margins=Margins(margin))
        found = with_costs(built, state, dict.fromkeys(names, cost), margin)
        assert found.cheapest is not None
        return found.comparisons[0], found.cheapest.beside_best["damaged"].non_inferior

    pair, _ = judged(0.02)
    difference = pair.overall["macro_f1_supported"].difference
    assert pair.verdict is not None
    assert difference is not None
    ends = (pair.verdict.macro_f1.low, difference.low)
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0] < ends[1] - 0.001
    for margin, good, decision in (
        (-ends[1] - 0.001, None, "cannot_tell"),
        (-sum(ends) / 2, None, "cannot_tell"),
        (-ends[0] + 0.001, True, "ship"),
    ):
        pair, found = judged(margin)
        assert pair.verdict is not None
        assert (found, pair.verdict.macro_f1.decision) == (good, decision)
        between = -ends[1] < margin < -ends[0]
        assert ("since the two disagree on few opinions" in decided(pair)) == between
