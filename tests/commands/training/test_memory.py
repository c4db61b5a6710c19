"""The estimate of a training's memory, against what a training takes."""

import gc
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.profiler import ProfilerActivity, profile
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from medsent.cli import main
from medsent.commands.training import plan
from medsent.commands.training.base import attach_adapter, build_model, working_dtype
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.memory import Memory, estimate
from medsent.commands.training.objectives import Batch, Objective, hidden_states, objective_for
from medsent.commands.training.packing import pack
from medsent.commands.training.plan import widest_pass
from medsent.commands.training.readings import Readings
from medsent.commands.training.task import open_task
from medsent.config.labels import LABELS
from medsent.config.personas import load_personas
from medsent.engine import cpu
from tests.commands.training.sessions import changed
from tests.conftest import captured, logged

pytestmark = pytest.mark.slow


@pytest.fixture
def in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as a GPU does, on any CPU."""
    monkeypatch.setattr(cpu, "compute_dtype", lambda dtype: dtype)


@pytest.fixture
def objective(config: TrainingConfig, tokenizer: Any) -> Objective:
    return objective_for(open_task(config), tokenizer)


def estimated(config: TrainingConfig, objective: Objective, model: Path) -> Memory:
    readings = Readings.read(config.data.train, {}, load_personas(None), LABELS)
    return estimate(config, model, widest_pass(config, objective, readings))


@pytest.mark.usefixtures("in_16_bits")
def test_weights_and_adapter_are_those_that_are_loaded(
    config: TrainingConfig, objective: Objective, tiny_wrapper: Path
) -> None:
    config = changed(config, model={"source": str(tiny_wrapper), "dtype": "bfloat16"})
    model = build_model(config, tiny_wrapper)
    memory = estimated(config, objective, tiny_wrapper)
    held = [p.untyped_storage().nbytes() for p in model.parameters() if not p.requires_grad]
    assert memory.weights == sum(held)
    assert memory.adapter == 4 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    four = changed(config, model={"quantization": "nf4"})
    model = build_model(four, tiny_wrapper)
    memory = estimated(four, objective, tiny_wrapper)
    held = [p.untyped_storage().nbytes() for p in model.parameters() if not p.requires_grad]
    assert memory.weights == pytest.approx(sum(held), rel=0.01)
    assert memory.unpacking == 32 * 64 * working_dtype().itemsize


@pytest.mark.usefixtures("in_16_bits")
@pytest.mark.parametrize("anew", [False, True], ids=["kept", "made anew"])
def test_the_estimate_is_what_a_step_takes(
    config: TrainingConfig, tmp_path: Path, anew: bool
) -> None:
    """Of what the allocator gives out at the peak, the adapter's gradients apart."""
    shape: dict[str, Any] = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 512}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64}
    frozen = Gemma3ForCausalLM(Gemma3TextConfig(**shape, num_hidden_layers=6)).to(working_dtype())
    frozen.config.save_pretrained(tmp_path)
    config = changed(config, model={"dtype": "bfloat16"}, lora={"dropout": 0.0})
    config = changed(config, optimiser={"gradient_checkpointing": anew})
    model = attach_adapter(frozen, config).train()
    if anew:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = pack([[1] * 60] * 2, [[[2] * 20] * 4] * 2)
    gradients = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    taken = _peak(model, batch) - gradients
    assert estimate(config, tmp_path, batch).activations == pytest.approx(taken, rel=0.15)


def _peak(model: Any, batch: Batch) -> float:
    """Return the most bytes that a step had at a time beside the model."""
    gc.collect()  # an earlier test's tensors, freed meanwhile, would count as room gained
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=working_dtype() == torch.bfloat16)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen, mixed:
        hidden_states(model, batch).float().mean().backward()
    every = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = [event for event in every if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return float(np.cumsum([event.nbytes() for event in changes]).max())


def test_checkpointing_keeps_a_part_and_accumulation_a_share(
    config: TrainingConfig, objective: Objective, tiny_model: Path
) -> None:
    def activations(**settings: Any) -> float:
        return estimated(changed(config, optimiser=settings), objective, tiny_model).activations

    assert activations(gradient_checkpointing=True) < 0.9 * activations()
    assert activations(gradient_accumulation=4) == pytest.approx(activations() / 4, rel=0.2)


def test_answers_of_tokens_take_a_vocabularys_logits(
    config: TrainingConfig, tokenizer: Any, tiny_model: Path
) -> None:
    one = changed(config, method="bits")
    bits = objective_for(open_task(one), tokenizer)
    assert estimated(one, bits, tiny_model).answers == 512 * len(tokenizer) * 20


def said(config: TrainingConfig, folder: Path, *given: str) -> list[str]:
    """Return the lines of `medsent train --dry-run`."""
    file = folder / "train.yaml"
    file.write_text(yaml.safe_dump(config.model_dump()))
    with captured() as (out, complained), pytest.raises(SystemExit) as ended:
        main(["train", "--dry-run", str(file), *given])
    assert ended.value.code == 0, complained.getvalue()
    assert not complained.getvalue()
    return out.getvalue().splitlines()


def test_a_dry_run_tells_work_and_memory_and_starts_nothing(
    config: TrainingConfig, tiny_wrapper: Path, tmp_path: Path
) -> None:
    """Without weights, of which the folder has none."""
    bare = tmp_path / "bare"
    shutil.copytree(tiny_wrapper, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    config = changed(config, model={"source": str(bare), "quantization": "nf4"})
    lines = said(config, tmp_path, "--set", "optimiser.gradient_accumulation=2")
    assert lines[0] == ("tiny: 16 opinions with 48 readings to train on, 8 with 24 to validate")
    assert lines[1].startswith("8 steps, each of 4 opinions (about ")
    assert lines[1].endswith(" in 2 passes")
    sizes = [float(line.split(" GB ")[0]) for line in lines if " GB  " in line]
    assert sizes[-1] == pytest.approx(sum(sizes[:-1]), abs=0.05)
    assert "the text model's weights (nf4)" in lines[3]
    assert "GB free" in lines[-1]
    assert not Path(config.output).exists()


def test_too_little_memory_is_told_with_what_takes_less(
    config: TrainingConfig, objective: Objective, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings.read(config.data.train, {}, load_personas(None), LABELS)

    def told(free: float) -> list[str]:
        monkeypatch.setattr(plan, "available", lambda: ("A small card", free))
        with logged() as lines:
            plan.tell_lack(config, tiny_model, objective, readings)
        return lines

    need = estimated(config, objective, tiny_model).total
    assert told(need + 1) == []
    warning, advice = told(need - 1)
    assert warning.startswith("Warning: by calculation this training takes 1 GB at its peak")
    assert advice.startswith("With optimiser.gradient_checkpointing: true it takes")
    assert "it needs a larger device" in told(1e6)[1]


def test_a_dry_run_names_the_type_and_rank_that_it_counts(
    config: TrainingConfig, objective: Objective, tiny_model: Path, in_float32: None, tmp_path: Path
) -> None:
    """Those of the job's GPU, on a CPU that would compute in another; and `start_from`'s rank."""
    config = changed(config, model={"dtype": "bfloat16"})
    begun = attach_adapter(Gemma3ForCausalLM.from_pretrained(tiny_model), config)
    begun.save_pretrained(str(tmp_path / "begun"))
    config = changed(config, lora={"rank": 7}, start_from=str(tmp_path / "begun"))
    lines = told_plan(config, objective, tiny_model)
    assert "the text model's weights (bfloat16)" in lines[1]
    assert "the adapter of rank 4," in lines[2]
    assert lines[-1].endswith("GB free, and trains in float32, which takes more.")
    wide = changed(config, model={"dtype": "float32"})
    assert estimated(wide, objective, tiny_model).weights == pytest.approx(
        2 * estimated(config, objective, tiny_model).weights
    )


def test_an_estimate_that_fails_stops_nothing(
    config: TrainingConfig, objective: Objective, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Memory:
        raise AssertionError("in a library")

    monkeypatch.setattr(plan, "estimate", fail)
    lines = told_plan(config, objective, tiny_model)
    assert lines == ["Its memory could not be estimated (AssertionError)."]
    readings = Readings.read(config.data.train, {}, load_personas(None), LABELS)
    with logged() as again:
        plan.tell_lack(config, tiny_model, objective, readings)
    assert again == lines


def told_plan(config: TrainingConfig, objective: Objective, model: Path) -> list[str]:
    """Return the lines about memory of a dry run."""
    readings = Readings.read(config.data.train, {}, load_personas(None), LABELS)
    with logged() as lines:
        plan.tell_memory(config, model, objective, readings)
    return lines
