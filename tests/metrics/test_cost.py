"""What a million records cost: hours, money, energy, and how far the pace tells."""

import numpy as np
import pytest

from medsent.config.labels import LABELS
from medsent.config.price import PriceSettings, TokenPrices
from medsent.errors import ConfigError
from medsent.metrics.cost import Amount, Cost, Rates, cost_change, variant_cost
from medsent.reducer.state import Scope, reduce_batches
from medsent.reducer.throughput import Throughput
from medsent.runs.log import Power
from tests.conftest import JobBuilder
from tests.predicted import Answers, batch

SECOND = 1_000_000
START_US = 1_780_000_000 * SECOND
HOURLY = Rates(PriceSettings(per_replica_hour=3.6), gpus=None)
"""A thousandth a second."""


def answers(
    finished_s: np.ndarray, latency_s: np.ndarray, output_tokens: int, replicas: list[str]
) -> Answers:
    rows = len(finished_s)
    return Answers(
        np.ones((rows, len(LABELS)), dtype=np.int8),
        finished_at=(START_US + np.rint(finished_s * SECOND).astype(np.int64)).tolist(),
        latency_s=latency_s.tolist(),
        replicas=replicas,
        prompt_tokens=[100] * rows,
        cached_tokens=[60] * rows,
        output_tokens=[output_tokens] * rows,
    )


def timing(**variants: Answers) -> Throughput:
    rows = len(next(iter(variants.values())).labels)
    gold = np.ones((rows, len(LABELS)), dtype=np.int8)
    return reduce_batches([batch(gold, variants)], Scope.of(list(variants), LABELS)).throughput


def in_turns(blocks: int = 40, seed: int = 0, noise: float = 0.0) -> Throughput:
    """Return two variants on one engine in turns: blocks of 10 records, of 10 s and of 30 s."""
    rng = np.random.default_rng(seed)
    took = np.stack(
        [10 + noise * rng.normal(size=blocks), 30 + 3 * noise * rng.normal(size=blocks)]
    )
    ends = np.cumsum(took.T.ravel()).reshape(blocks, 2)
    share = np.arange(1, 11) / 10
    sides = []
    for index in range(2):
        begin = ends[:, index] - took[index]
        finished = (begin[:, None] + took[index][:, None] * share).ravel()
        sides.append(
            answers(finished, (took[index][:, None] * share).ravel(), 1, ["r"] * len(finished))
        )
    return timing(quick=sides[0], slow=sides[1])


def test_each_variant_pays_for_its_own_time() -> None:
    found = [variant_cost(in_turns(), name, HOURLY) for name in ("quick", "slow")]
    assert found[0] is not None
    assert found[1] is not None
    # 1 s and 3 s a record; a bin of time is 66 ms.
    for cost, second in zip(found, (1, 3), strict=True):
        assert cost.replica_hours_per_million_records.value == pytest.approx(
            second * 1e6 / 3600, rel=0.01
        )
        assert cost.money_per_million_records.value == pytest.approx(1000 * second, rel=0.01)
        assert (cost.currency, cost.shared) == ("USD", 0.0)
        assert cost.gpu_hours_per_million_records is None
        assert cost.joules_per_million_records is None
        assert "gpu_hours_per_million_records" not in cost.model_dump()
    change = cost_change(*found)
    assert change is not None
    assert change.money_per_million_records.value == pytest.approx(2000, rel=0.01)
    assert change.relative == pytest.approx(2, rel=0.02)


def test_gpus_and_energy_are_told_where_they_are_known() -> None:
    rates = Rates(PriceSettings(per_gpu_hour=1.8), gpus=2, watts=500.0)
    cost = variant_cost(in_turns(), "quick", rates)
    assert cost is not None
    assert cost.money_per_million_records.value == pytest.approx(1000, rel=0.01)
    assert cost.gpu_hours_per_million_records is not None
    assert cost.gpu_hours_per_million_records.value == pytest.approx(2e6 / 3600, rel=0.01)
    assert cost.joules_per_million_records == pytest.approx(500e6, rel=0.01)


def test_time_in_which_both_finish_goes_by_the_tokens_computed() -> None:
    """Beside 40 tokens of a prompt each, one writes 10 and the other 110."""
    finished = np.arange(1, 101) / 1.0
    latency = np.ones(100)
    short, long = (answers(finished, latency, tokens, ["r"] * 100) for tokens in (10, 110))
    shared = timing(short=short, long=long)
    costs = [variant_cost(shared, name, HOURLY) for name in ("short", "long")]
    money = [cost.money_per_million_records.value for cost in costs if cost]
    assert money == [pytest.approx(250), pytest.approx(750)]
    assert [cost.shared for cost in costs if cost] == [1.0, 1.0]
    # By the records that the rates are shared by, they would cost the same.
    assert shared.busy_s()["short", "r"] == shared.busy_s()["long", "r"]


def test_time_is_shared_by_records_where_no_tokens_are_told() -> None:
    both = Answers(
        np.ones((2, len(LABELS)), dtype=np.int8),
        finished_at=[START_US] * 2,
        latency_s=[1.0] * 2,
        replicas=["r"] * 2,
    )
    found = timing(a=both, b=both)
    costs = [variant_cost(found, name, HOURLY) for name in "ab"]
    assert [each.money_per_million_records.value for each in costs if each] == [250.0, 250.0]


def test_tokens_are_paid_whatever_the_time() -> None:
    tokens = TokenPrices(prompt=1.0, cached=0.1, output=4.0)
    rates = Rates(PriceSettings(per_million_tokens=tokens, currency="EUR"), gpus=None)
    cost = variant_cost(in_turns(), "slow", rates)
    assert cost is not None
    # 40 computed, 60 cached, 1 generated
    assert cost.money_per_million_records.value == pytest.approx(40 + 6 + 4)
    assert cost.money_per_million_records.low == pytest.approx(50)  # each record has as many
    assert cost.currency == "EUR"


def test_a_short_run_has_no_interval() -> None:
    cost = variant_cost(in_turns(blocks=2), "quick", HOURLY)
    assert cost is not None
    assert cost.money_per_million_records.low is None
    change = cost_change(cost, cost)
    assert change is not None
    assert change.money_per_million_records.high is None


@pytest.mark.slow
def test_intervals_hold_the_pace_that_blocks_vary_around() -> None:
    """At least 9 of 10 hold it, of 95%: two blocks or so make a piece."""
    held = 0
    for seed in range(200):
        cost = variant_cost(in_turns(seed=seed, noise=2.0), "quick", HOURLY)
        assert cost is not None
        amount = cost.money_per_million_records
        assert amount.low is not None
        assert amount.high is not None
        held += amount.low <= 1000 <= amount.high
    assert 180 <= held < 200


def test_replicas_are_added_up() -> None:
    finished = np.tile(np.arange(1, 101), 2).astype(float)
    replicas = ["a"] * 100 + ["b"] * 100
    cost = variant_cost(timing(v=answers(finished, np.ones(200), 1, replicas)), "v", HOURLY)
    assert cost is not None
    assert cost.money_per_million_records.value == pytest.approx(1000)
    assert cost.money_per_million_records.low is not None


def test_what_was_not_timed_has_no_cost() -> None:
    nothing = Answers(np.ones((2, len(LABELS)), dtype=np.int8))
    assert variant_cost(timing(v=nothing), "v", HOURLY) is None


def test_a_difference_takes_both_for_independent() -> None:
    def cost(value: float, half: float, currency: str = "USD") -> Cost:
        return Cost(
            replica_hours_per_million_records=Amount(value=1.0),
            shared=0.0,
            money_per_million_records=Amount(value=value, low=value - half, high=value + half),
            currency=currency,
        )

    found = cost_change(cost(10, 3), cost(4, 4))
    assert found is not None
    assert found.money_per_million_records == Amount(value=-6, low=-11, high=-1)
    assert found.relative == -0.6
    assert cost_change(cost(10, 3), cost(4, 4, "EUR")) is None
    assert cost_change(None, cost(4, 4)) is None


def test_rates_are_by_what_the_engines_told(job: JobBuilder) -> None:
    powers = [
        Power(gpus=2, seconds=100.0, joules=50_000.0),
        Power(gpus=2, seconds=300.0, joules=90_000.0),
        Power(gpus=2, seconds=1e6),
    ]
    assert Rates.of(job(), powers) is None
    price = {"per_gpu_hour": 2.0}
    rates = Rates.of(job(price=price), powers)
    assert rates is not None
    assert (rates.gpus, rates.watts) == (2, 350.0)
    before = Rates.of(job(price=price, model={"tensor_parallel_size": 4}), [])
    assert before is not None
    assert (before.gpus, before.watts) == (4, None)
    on_cpus = [Power(gpus=0, seconds=1.0)]
    with pytest.raises(ConfigError, match="had no GPU"):
        Rates.of(job(price=price), on_cpus)
    laptop = Rates.of(job(price={"per_machine_hour": 0.2}), on_cpus)
    assert laptop is not None
    assert laptop.gpus == 0
