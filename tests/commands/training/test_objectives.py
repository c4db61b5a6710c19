"""Losses: what is learnt, and that missing gold is not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from medsent.answers import json
from medsent.answers.file import AnswerFile, shipped_answer
from medsent.answers.methods import bits
from medsent.answers.targets import UNKNOWN, Targets
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.objectives import Objective, objective_for
from medsent.commands.training.readings import Opinion, Readings
from medsent.commands.training.task import open_task
from medsent.config.labels import LABELS
from medsent.prompts.file import PromptFile

pytestmark = pytest.mark.slow

READER_FIRST = PromptFile.model_validate(
    {
        "messages": [
            {"role": "user", "content": "{persona.name} ({persona}) reads this: {opinion}"},
            {"role": "assistant", "content": "\nAnswer: "},
        ]
    }
)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


@pytest.fixture(scope="module")
def opinions(validation: Readings) -> list[Opinion]:
    """Two opinions, the second with fewer readers."""
    first, second = validation.opinions[:2]
    return [first, replace(second, personas=second.personas[:2], gold=second.gold[:2])]


def _objective(config: TrainingConfig, tokenizer: Any, method: str, **weights: float) -> Objective:
    changed = config.model_copy(update={"method": method, "label_weights": weights})
    return objective_for(open_task(changed), tokenizer)


def _asked_otherwise(
    config: TrainingConfig, tokenizer: Any, method: str, answer: AnswerFile | None = None
) -> Objective:
    """Return the objective of a prompt that names the reader before the opinion."""
    task = open_task(config.model_copy(update={"method": method}))
    return objective_for(replace(task, prompt=READER_FIRST, answer=answer), tokenizer)


def _write(tokenizer: Any, answer: AnswerFile | None) -> Callable[[Any], Targets]:
    if answer is None:
        return partial(bits.write, tokenizer=tokenizer)
    return partial(json.write, form=answer.form_of(LABELS), tokenizer=tokenizer)


def _without(opinion: Opinion, reader: int, label: str, value: float = np.nan) -> Opinion:
    gold = opinion.gold.copy()
    gold[reader, LABELS.index(label)] = value
    return replace(opinion, gold=gold)


def test_onepass_is_the_mean_over_known_labels(
    config: TrainingConfig, tokenizer: Any, model: Any, opinions: list[Opinion]
) -> None:
    objective = _objective(config, tokenizer, "onepass", anger=3.0)
    partial = [_without(opinions[0], 1, "anger"), opinions[1]]
    loss, logits = objective.loss(model, objective.collate(partial))
    assert logits is not None
    assert logits.shape == (2, 3, len(LABELS))
    total = weight = 0.0
    for row, opinion in enumerate(partial):
        for reader, gold in enumerate(opinion.gold):
            for index, value in enumerate(gold):
                if np.isnan(value):
                    continue
                own = 3.0 if LABELS[index] == "anger" else 1.0
                logit = logits[row, reader, index]
                each = F.binary_cross_entropy_with_logits(logit, torch.tensor(float(value)))
                total, weight = total + own * each.item(), weight + own
    assert loss.item() == pytest.approx(total / weight, abs=1e-5)


@pytest.mark.parametrize("make", [_objective, _asked_otherwise], ids=["shipped", "reader first"])
def test_onepass_logits_are_those_of_separate_prompts(
    config: TrainingConfig,
    tokenizer: Any,
    model: Any,
    opinions: list[Opinion],
    make: Callable[..., Objective],
) -> None:
    objective = make(config, tokenizer, "onepass")
    opinions = [*opinions, replace(opinions[0], personas=[None], gold=opinions[0].gold[:1])]
    _, logits = objective.loss(model, objective.collate(opinions))
    assert logits is not None
    words = [*LABELS, "none"]
    ids = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in words]
    for row, opinion in enumerate(opinions):
        for reader, persona in enumerate(opinion.personas):
            prompt = objective.prompter.prompt(opinion.text, opinion.language, persona)
            with torch.no_grad():
                last = model(torch.tensor([prompt])).logits[0, -1, ids]
            torch.testing.assert_close(logits[row, reader], last[:-1] - last[-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "answer",
    [
        AnswerFile(yes="tak", no="nie", style="indented"),
        AnswerFile(form="list", under="labels", names={"anger": "gniew"}),
        None,
    ],
    ids=["words", "list", "bits"],
)
def test_an_answers_loss_is_that_of_separate_prompts(
    config: TrainingConfig,
    tokenizer: Any,
    model: Any,
    opinions: list[Opinion],
    answer: AnswerFile | None,
) -> None:
    """With the reader before the opinion, one reader among them, and a label that is missing."""
    method = "json" if answer else "bits"
    objective = _asked_otherwise(config, tokenizer, method, answer)
    first, second = _without(opinions[0], 1, "anger"), opinions[1]
    opinions = [first, replace(second, personas=second.personas[:1], gold=second.gold[:1])]
    batch = objective.collate(opinions)
    assert tokenizer.decode(batch["input_ids"][0]).count(first.text) == len(first.personas)
    losses, weights = [], []
    for opinion in opinions:
        for persona, gold in zip(opinion.personas, opinion.gold, strict=True):
            prompt = objective.prompter.prompt(opinion.text, opinion.language, persona)
            written = _write(tokenizer, answer)(gold)
            with torch.no_grad():
                logits = model(torch.tensor([prompt + written.ids])).logits[0]
            told = logits[len(prompt) - 1 : -1]
            losses.append(F.cross_entropy(told, torch.tensor(written.ids), reduction="none"))
            weights.append(torch.tensor([float(label != UNKNOWN) for label in written.of_label]))
    known = torch.cat(weights)
    expected = (torch.cat(losses) * known).sum() / known.sum()
    assert objective.loss(model, batch)[0].item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_list_leaves_out_what_is_not_known(
    config: TrainingConfig, tokenizer: Any, opinions: list[Opinion]
) -> None:
    objective = _asked_otherwise(config, tokenizer, "json", AnswerFile(form="list"))
    reader = opinions[0].gold[0]
    given = [label for label, value in zip(LABELS, reader, strict=True) if value == 1]
    one = replace(opinions[0], personas=opinions[0].personas[:1], gold=opinions[0].gold[:1])
    batch = objective.collate([_without(one, 0, given[0])])
    ids = batch["targets"][batch["targets"] >= 0].tolist()
    assert tokenizer.decode(ids[:-1]) == AnswerFile().written(given[1:])


@pytest.mark.parametrize("method", ["onepass", "json", "bits"])
def test_parts_of_a_step_add_up_to_the_whole(
    config: TrainingConfig, tokenizer: Any, model: Any, opinions: list[Opinion], method: str
) -> None:
    """However unlike the parts are in their number of labels."""
    objective = _objective(config, tokenizer, method, anger=3.0)
    opinions = [replace(each, personas=each.personas[:2], gold=each.gold[:2]) for each in opinions]
    gold = opinions[1].gold.copy()
    gold[:, 3:] = np.nan
    parts = [opinions[:1], [replace(opinions[1], gold=gold)]]
    whole, *batches = (objective.collate(some) for some in (parts[0] + parts[1], *parts))
    over = torch.stack([objective.weight(batch) for batch in batches]).sum()
    assert over.item() == pytest.approx(objective.weight(whole).item())
    together = objective.loss(model, whole)[0].item()
    losses = [objective.loss(model, batch, over)[0].item() for batch in batches]
    assert sum(losses) == pytest.approx(together, abs=1e-4)
    means = [objective.loss(model, batch)[0].item() for batch in batches]
    assert abs(sum(means) / 2 - together) > 1e-3  # what a mean over passes would be


@pytest.mark.parametrize("method", ["json", "bits"])
def test_a_missing_label_of_an_answer_carries_no_loss(
    config: TrainingConfig, tokenizer: Any, model: Any, opinions: list[Opinion], method: str
) -> None:
    """Missing stands as no: the losses differ by just what deciding "no" there costs."""
    objective = _objective(config, tokenizer, method)
    label = LABELS[-1]
    known = [_without(opinions[0], 0, label, 0.0)]
    missing = [_without(opinions[0], 0, label)]
    batches = [objective.collate(own) for own in (known, missing)]
    assert torch.equal(batches[0]["input_ids"], batches[1]["input_ids"])
    losses = [objective.loss(model, batch)[0].item() for batch in batches]
    tokens = int((batches[0]["targets"] >= 0).sum())
    decided = batches[0]["targets"] >= 0
    decided &= batches[0]["of_label"] != batches[1]["of_label"]
    assert int(decided.sum()) == 1
    assert losses[0] * tokens - losses[1] * (tokens - 1) == pytest.approx(
        _cost(objective, model, opinions[0], method, tokenizer, label), abs=1e-3
    )


def _cost(
    objective: Objective, model: Any, opinion: Opinion, method: str, tokenizer: Any, label: str
) -> float:
    """Return the cross-entropy of "no" for a reader's label, in a prompt of its own."""
    gold = opinion.gold[0].copy()
    gold[LABELS.index(label)] = 0
    written = _write(tokenizer, shipped_answer() if method == "json" else None)(gold)
    prompt = objective.prompter.prompt(opinion.text, opinion.language, opinion.personas[0])
    at = written.of_label.index(LABELS.index(label))
    with torch.no_grad():
        logits = model(torch.tensor([prompt + written.ids[:at]])).logits[0, -1]
    return float(F.cross_entropy(logits, torch.tensor(written.ids[at])))


@pytest.mark.parametrize("method", ["json", "bits"])
def test_weights_reach_the_tokens_of_their_label(
    config: TrainingConfig, tokenizer: Any, model: Any, opinions: list[Opinion], method: str
) -> None:
    heavy = _objective(config, tokenizer, method, anger=1e9)
    own = [replace(opinions[0], personas=opinions[0].personas[:1], gold=opinions[0].gold[:1])]
    own = [_without(own[0], 0, "anger", 0.0)]
    loss = heavy.loss(model, heavy.collate(own))[0].item()
    cost = _cost(heavy, model, own[0], method, tokenizer, "anger")
    assert loss == pytest.approx(cost, abs=1e-3)


def test_targets_stand_after_the_prompt_and_end_with_the_end(
    config: TrainingConfig, tokenizer: Any, opinions: list[Opinion]
) -> None:
    objective = _objective(config, tokenizer, "bits")
    batch = objective.collate(opinions)
    for row, opinion in enumerate(opinions):
        asked = batch["targets"][row][batch["targets"][row] >= 0].tolist()
        expected = [bits.write(gold, tokenizer).ids for gold in opinion.gold]
        assert asked == [token for ids in expected for token in ids]
        assert asked[21] == tokenizer.eos_token_id
