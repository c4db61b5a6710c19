"""Evaluation on a split: the readings' own order, the base model, and tuned results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.special import expit
from sklearn.metrics import f1_score
from transformers import AutoModelForCausalLM

from medsent.commands.training.base import working_dtype
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.evaluation import evaluate, macro_f1, tuned_results
from medsent.commands.training.objectives import Objective, objective_for
from medsent.commands.training.readings import Readings
from medsent.commands.training.task import open_task
from medsent.config.labels import LABELS

pytestmark = pytest.mark.slow


@pytest.fixture
def objective(config: TrainingConfig, tokenizer: Any) -> Objective:
    return objective_for(open_task(config), tokenizer)


@pytest.fixture
def adapted(tiny_model: Path) -> Any:
    """The tiny model with an adapter that changes much."""
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return model


def test_logits_stand_in_the_order_of_the_readings(
    objective: Objective, adapted: Any, validation: Readings
) -> None:
    found = evaluate(adapted, objective, validation)
    logits, gold = found.logits, found.gold
    assert logits is not None
    assert logits.shape == gold.shape == (validation.records, len(LABELS))
    np.testing.assert_array_equal(gold, np.concatenate([o.gold for o in validation.opinions]))
    start, mixed = 0, working_dtype() == torch.bfloat16
    for opinion in validation.opinions:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            _, alone = objective.loss(adapted, objective.collate([opinion]))
        assert alone is not None
        own = logits[start : start + len(opinion.personas)]
        assert own == pytest.approx(alone[0].numpy(), abs=0.05)
        start += len(opinion.personas)
    assert np.ptp(logits, axis=0).min() > 0.1  # so that a wrong order would show


def test_a_disabled_adapter_is_the_base_model(
    objective: Objective, adapted: Any, tiny_model: Path, validation: Readings
) -> None:
    own = evaluate(adapted, objective, validation).logits
    with adapted.disable_adapter():
        base = evaluate(adapted, objective, validation).logits
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    plain = evaluate(model, objective, validation).logits
    assert own is not None
    assert base is not None
    assert plain is not None
    np.testing.assert_array_equal(base, plain)
    assert np.abs(own - base).max() > 0.1


def test_an_answer_method_has_no_logits(
    config: TrainingConfig, tokenizer: Any, adapted: Any, validation: Readings
) -> None:
    bits = objective_for(open_task(config.model_copy(update={"method": "bits"})), tokenizer)
    assert evaluate(adapted, bits, validation.first(1)).logits is None


def test_results_are_those_of_the_known_gold() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, (60, len(LABELS))).astype(float)
    gold[rng.random(gold.shape) < 0.2] = np.nan
    gold[:, 4] = 0  # a label that nobody gave
    logits = rng.normal(size=gold.shape)
    results = tuned_results(logits, gold, LABELS)
    assert [result.label for result in results] == list(LABELS)
    for index, result in enumerate(results):
        known = ~np.isnan(gold[:, index])
        given = expit(logits[known, index]) >= result.threshold
        truth = gold[known, index] == 1
        assert result.f1 == pytest.approx(f1_score(truth, given, zero_division=0))
        assert result.positives == truth.sum()
    assert (results[4].f1, results[4].threshold) == (0.0, 0.5)
    assert macro_f1(results) == pytest.approx(np.mean([result.f1 for result in results]))
