"""Whole trainings of a tiny model: resumed, finished, refused, and what they write."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medsent.commands.training import base
from medsent.commands.training.checkpoints import claim
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.readings import Readings
from medsent.commands.training.run import evaluate_both, plan_training, run_training, train
from medsent.config.labels import LABELS
from medsent.config.loader import load_settings
from medsent.config.personas import load_personas
from medsent.errors import AdapterError, ConfigError, InputError, ModelError
from medsent.metrics.statistics.thresholds import hash_opinions, read_thresholds
from medsent.models.hashes import sha256_file
from tests.commands.training.sessions import Killed, changed, kill_at
from tests.conftest import logged

pytestmark = pytest.mark.slow


def test_a_resumed_training_ends_in_the_same_weights(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second epoch; order, dropout, optimiser and rate all go on."""
    once = run_training(changed(config, output=str(tmp_path / "once")))
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(Killed):
            run_training(config)
    with logged() as lines:
        twice = run_training(config)
    assert any("Resuming from step 6" in line for line in lines)
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (once, twice))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_what_a_training_writes(
    config: TrainingConfig, data: Path, validation: Readings, tmp_path: Path
) -> None:
    folder = run_training(config)
    assert {path.name for path in folder.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "prompt.yaml",
        "labels.yaml",
        "thresholds.json",
        "thresholds-baseline.json",
        "README.md",
        "checkpoints",
    }
    weights = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert len(weights) == 3 * 4 * 2
    assert any(bool(t.any()) for name, t in weights.items() if "lora_B" in name)
    sha256 = sha256_file(folder / "adapter_model.safetensors")
    own = read_thresholds(folder / "thresholds.json")
    base = read_thresholds(folder / "thresholds-baseline.json")
    assert (own.adapter_sha256, base.adapter_sha256) == (sha256, None)
    assert own.tuned_on == base.tuned_on
    assert (own.tuned_on.opinions, own.tuned_on.records) == (8, 24)
    assert own.tuned_on.shared(hash_opinions(o.opinion_id for o in validation.opinions))[0] == 8
    readings = Readings.read(str(data / "train"), {}, load_personas(None), LABELS)
    assert own.tuned_on.shared(hash_opinions(o.opinion_id for o in readings.opinions))[0] == 0
    assert set(read_thresholds(folder / "thresholds.json").thresholds) == set(LABELS)
    card = (folder / "README.md").read_text()
    for fact in (sha256, validation.digest()[:16], "8 steps", "Synthetic.", "Gemma Terms of Use"):
        assert fact in card
    assert all(f"| {label} |" in card for label in LABELS)


def test_a_finished_training_only_writes(config: TrainingConfig) -> None:
    folder = run_training(config)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / "thresholds.json").unlink()
    with logged() as lines:
        run_training(config)
    assert any("8 steps are done" in line for line in lines)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name in ("adapter_model.safetensors", "thresholds.json", "thresholds-baseline.json"):
        assert after[name] == before[name]
    assert after.keys() == before.keys()


def test_a_lowered_budget_finishes_where_the_last_checkpoint_stands(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            run_training(config)
    tiny = config.optimiser.model_copy(update={"minutes": 1e-9})
    folder = run_training(config.model_copy(update={"optimiser": tiny}))
    assert "3 steps" in (folder / "README.md").read_text()


@pytest.mark.parametrize("method", ["onepass", "json", "bits"])
def test_every_method_learns(config: TrainingConfig, method: str) -> None:
    steps = {"epochs": 2} if method == "onepass" else {"epochs": 0.5, "learning_rate": 0.1}
    short = config.optimiser.model_copy(update={**steps, "evaluations": 1})
    trained = train(changed(config, method=method, optimiser=short.model_dump()))
    few = replace(trained, validation=trained.validation.first(2))
    result = evaluate_both(few)
    assert result.loss < result.baseline_loss - 0.05, result
    assert (result.labels is None) == (method != "onepass")


def test_a_generated_answer_has_no_thresholds(config: TrainingConfig) -> None:
    one_step = config.optimiser.model_copy(update={"epochs": 0.25}).model_dump()
    folder = run_training(changed(config, optimiser=one_step))
    (folder / "answer.yaml").write_text("form: list")
    other = {"method": "bits", "checkpoints": str(folder / "other")}
    run_training(changed(config, optimiser=one_step, **other))
    assert not (folder / "thresholds.json").exists()
    assert not (folder / "answer.yaml").exists()
    assert "medsent evaluate" in (folder / "README.md").read_text()


def test_an_adapter_can_be_trained_on(config: TrainingConfig, tmp_path: Path) -> None:
    first = run_training(config)
    optimiser = {**config.optimiser.model_dump(), "learning_rate": 1e-12, "epochs": 0.25}
    second = run_training(
        changed(
            config,
            start_from=str(first),
            output=str(tmp_path / "second"),
            optimiser=optimiser,
            label_weights={"anger": 2.0},
        ),
    )
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert "anger 2" in (second / "README.md").read_text()


def test_the_same_opinions_for_training_and_validation_are_refused(config: TrainingConfig) -> None:
    both = {"train": config.data.train, "validation": config.data.train}
    with pytest.raises(InputError, match="16 opinions are in both"):
        run_training(changed(config, data=both))
    assert not Path(config.output).exists()


def test_other_settings_on_the_same_checkpoints_are_refused(config: TrainingConfig) -> None:
    train(config)
    with pytest.raises(ConfigError, match="seed"):
        train(changed(config, seed=1))


def test_checkpoints_of_another_base_are_refused_and_kept(
    config: TrainingConfig, tiny_model: Path, tmp_path: Path
) -> None:
    """A folder whose content changed between the sessions; the dry run says so too."""
    own = tmp_path / "own"
    shutil.copytree(tiny_model, own)
    config = changed(config, model={"source": str(own)}, optimiser={"epochs": 0.25})
    train(config)
    plan_training(config)
    file = own / "model.safetensors"
    save_file({name: 2 * t for name, t in load_file(file).items()}, file, {"format": "pt"})
    for what in (train, plan_training):
        with pytest.raises(ConfigError, match=r"model\.source: .* on another content"):
            what(config)
    assert (tmp_path / "adapter" / "checkpoints" / "checkpoint-1").is_dir()


def test_a_dry_run_refuses_what_a_training_does(
    config: TrainingConfig, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"model\.revision is for a model of the hub"):
        plan_training(changed(config, model={"revision": "main"}))
    claim(tmp_path / "taken", {"seed": 5})
    with pytest.raises(ConfigError, match="checkpoints of a training with other settings"):
        plan_training(changed(config, checkpoints=str(tmp_path / "taken")))
    done = tmp_path / "done"
    done.mkdir()
    shape = json.loads((tiny_model / "config.json").read_text())
    shape["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (done / "config.json").write_text(json.dumps(shape))
    with pytest.raises(ModelError, match="are quantised already"):
        plan_training(changed(config, model={"source": str(done), "quantization": "nf4"}))
    monkeypatch.setattr(base, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs bitsandbytes"):
        plan_training(changed(config, model={"quantization": "nf4"}))


def test_wrong_models_targets_and_starts(config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        train(changed(config, model={"source": str(tmp_path / "gone")}))
    with pytest.raises(ConfigError, match=r"lora\.targets"):
        train(changed(config, output=str(tmp_path / "a"), lora={"targets": ["nothing"]}))
    with pytest.raises(AdapterError, match="start_from"):
        train(changed(config, output=str(tmp_path / "b"), start_from=str(tmp_path / "gone")))


def test_the_shipped_configuration_reads() -> None:
    config = load_settings(TrainingConfig, "jobs/train.yaml")
    assert config.method == "onepass"
    assert config.note is not None
    assert "synthetic" in config.note


def test_the_configuration_for_a_large_model_reads() -> None:
    config = load_settings(TrainingConfig, "jobs/train-12b.yaml")
    assert config.optimiser.gradient_checkpointing
    assert config.optimiser.opinions_per_pass == 4
