"""The settings of a price: one basis, what an engine's hour comes to, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from medsent.config.price import PriceSettings, TokenPrices
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder


@pytest.mark.parametrize(
    ("price", "gpus", "hour"),
    [
        ({"per_replica_hour": 2.5}, 4, 2.5),
        ({"per_gpu_hour": 2.5}, 4, 10.0),
        ({"per_machine_hour": 2.4}, 0, 2.4),
        ({"per_machine_hour": 2.4, "engines_per_machine": 8}, 1, 0.3),
        ({"per_million_tokens": {"prompt": 1, "output": 2}}, 1, None),
    ],
)
def test_the_price_of_an_engine_for_an_hour(
    price: dict[str, Any], gpus: int, hour: float | None
) -> None:
    found = PriceSettings.model_validate(price).of_replica_hour(gpus)
    assert found == (None if hour is None else pytest.approx(hour))


def test_cached_tokens_cost_what_others_of_prompts_do_unless_told() -> None:
    assert TokenPrices(prompt=2.0, output=8.0).each == (2e-6, 2e-6, 8e-6)
    assert TokenPrices(prompt=2.0, cached=0.5, output=8.0).each == (2e-6, 0.5e-6, 8e-6)


@pytest.mark.parametrize(
    ("price", "wrong"),
    [
        ({}, "give one of per_replica_hour, .*; none is given"),
        (
            {"per_replica_hour": 1, "per_gpu_hour": 1},
            "per_replica_hour and per_gpu_hour is given",
        ),
        ({"per_replica_hour": 0}, "greater than 0"),
        ({"per_gpu_hour": float("inf")}, "finite"),
        (
            {"per_gpu_hour": 1, "engines_per_machine": 2},
            "engines_per_machine goes with per_machine_hour",
        ),
        ({"per_machine_hour": 1, "currency": ""}, "at least 1 character"),
    ],
)
def test_prices_that_cannot_be_meant_are_refused(price: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        PriceSettings.model_validate(price)


def test_gpus_are_not_paid_for_where_a_job_uses_none(job: JobBuilder) -> None:
    with pytest.raises(ValidationError, match=r"no GPU with engine\.device: cpu"):
        job(engine={"kind": "vllm", "device": "cpu"}, price={"per_gpu_hour": 2.5})


def test_a_price_makes_no_other_run(job: JobBuilder) -> None:
    plain = make_plan(job())
    priced = make_plan(
        job(price={"per_replica_hour": 2.5}, statistics={"margin": 0.1, "label_margin": None})
    )
    assert priced.fingerprint == plain.fingerprint
