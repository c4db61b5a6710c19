"""What lets a large model be trained: it changes what a training takes, not what it learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.models.gemma3.modeling_gemma3 import Gemma3DecoderLayer

from medsent.commands.training import base
from medsent.commands.training.base import build_model
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.run import run_training, train
from medsent.commands.training.trainer import AdapterTrainer
from medsent.config.labels import LABELS
from medsent.errors import AdapterError, ConfigError, ModelError
from tests.commands.training.sessions import Killed, changed, kill_at
from tests.conftest import logged

pytestmark = pytest.mark.slow

IN_TEXT, IN_WRAPPER = "base_model.model.model.", "base_model.model.model.language_model."


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def trained(config: TrainingConfig, output: Path, **changes: Any) -> dict[str, Tensor]:
    """Return the float32 weights that a training of two steps ends with."""
    short: Any = {"epochs": 0.5, "evaluations": 1, **changes}
    model = train(changed(config, output=str(output), optimiser=short)).model
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def uneven(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The opinions for training, every other with two labels a reader."""
    rows = pq.read_table(data / "train").to_pylist()
    table = pq.read_table(data / "train")
    for number, row in enumerate(rows):
        if number // 3 % 2:
            row["labels"] |= dict.fromkeys(LABELS[2:], -1)
    folder = tmp_path_factory.mktemp("uneven")
    pq.write_table(table.from_pylist(rows, schema=table.schema), folder / "part.parquet")
    return folder


@pytest.mark.usefixtures("in_float32")
def test_passes_of_a_step_learn_what_the_step_does(
    config: TrainingConfig, uneven: Path, tmp_path: Path
) -> None:
    config = changed(config, data={"train": str(uneven)}, lora={"dropout": 0.0})
    whole = trained(config, tmp_path / "whole")
    parts = trained(config, tmp_path / "parts", gradient_accumulation=4)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-4, rtol=0)


@pytest.mark.usefixtures("in_float32")
def test_checkpointing_changes_nothing_that_is_learnt(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, whose draws are made anew."""
    calls: list[int] = []
    real = Gemma3DecoderLayer.forward

    def counted(self: Any, *args: Any, **given: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return real(self, *args, **given)

    monkeypatch.setattr(Gemma3DecoderLayer, "forward", counted)
    once = trained(config, tmp_path / "kept")
    passes = sum(calls)
    calls.clear()
    twice = trained(config, tmp_path / "anew", gradient_checkpointing=True)
    assert sum(calls) == 2 * passes > 0
    for name, tensor in once.items():
        torch.testing.assert_close(twice[name], tensor, atol=1e-6, rtol=0)


def test_a_step_is_split_evenly(config: TrainingConfig) -> None:
    with pytest.raises(ValueError, match=r"opinions_per_step \(4\) must be a multiple"):
        changed(config, optimiser={"gradient_accumulation": 3})


@pytest.mark.usefixtures("in_float32")
def test_a_training_goes_on_with_settings_that_take_less(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the weights of a training that was never interrupted, but for rounding."""
    config = changed(config, lora={"dropout": 0.0})
    whole = train(changed(config, output=str(tmp_path / "whole"))).model
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            train(config)
    less = {"gradient_accumulation": 2, "gradient_checkpointing": True}
    with logged() as lines:
        resumed = train(changed(config, optimiser=less))
    assert resumed.steps == 8
    assert any("Resuming from step 3" in line for line in lines)
    parts = dict(resumed.model.named_parameters())
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parts[name], parameter, atol=2e-3, rtol=0)


def test_one_device_of_several_trains(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several the library would make copies of the model, which our losses cannot look into."""
    begin = AdapterTrainer.train

    def on_four(self: AdapterTrainer, **given: Any) -> Any:
        self.args._n_gpu = 4
        return begin(self, **given)

    monkeypatch.setattr(AdapterTrainer, "train", on_four)
    assert train(changed(config, optimiser={"epochs": 0.25})).steps == 1


def test_a_wrapper_learns_what_its_text_model_does(
    config: TrainingConfig, tiny_wrapper: Path, tmp_path: Path
) -> None:
    """Step for step, under the wrapper's names."""
    short = changed(config, optimiser={"epochs": 0.75})
    text = run_training(short)
    model = {"source": str(tiny_wrapper)}
    wrapped = run_training(changed(short, model=model, output=str(tmp_path / "wrapped")))
    ours, theirs = weights(wrapped), weights(text)
    assert {name.replace(IN_WRAPPER, IN_TEXT) for name in ours} == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.equal(theirs[name.replace(IN_WRAPPER, IN_TEXT)]), name
    card = (wrapped / "README.md").read_text()
    assert "the multimodal model under transformers 5's names" in card
    assert "Gemma Terms of Use" in card
    assert "names are those of the text model" in (text / "README.md").read_text()
    whole = AutoModelForCausalLM.from_pretrained(tiny_wrapper)
    assert any("vision" in name for name, _ in whole.named_modules())
    held = PeftModel.from_pretrained(whole, str(wrapped)).state_dict()
    name = f"{IN_WRAPPER}layers.0.self_attn.q_proj.lora_B"
    assert held[f"{name}.default.weight"].equal(ours[f"{name}.weight"].float())


def test_what_is_not_trained_of_a_wrapper_is_not_held(
    config: TrainingConfig, tiny_wrapper: Path
) -> None:
    model = build_model(changed(config, model={"source": str(tiny_wrapper)}), tiny_wrapper)
    names = [name for name, _ in model.named_modules()]
    assert not [name for name in names if "vision" in name or "projector" in name]


def test_a_wrapper_goes_on_from_its_text_models_adapter(
    config: TrainingConfig, tiny_wrapper: Path, tmp_path: Path
) -> None:
    first = run_training(changed(config, optimiser={"epochs": 0.5}))
    again = changed(
        config,
        model={"source": str(tiny_wrapper)},
        start_from=str(first),
        output=str(tmp_path / "second"),
        optimiser={"learning_rate": 1e-12, "epochs": 0.25},
    )
    ours, theirs = weights(run_training(again)), weights(first)
    assert all(t.equal(theirs[name.replace(IN_WRAPPER, IN_TEXT)]) for name, t in ours.items())


def test_an_adapter_of_other_layers_is_no_start(
    config: TrainingConfig, tmp_path: Path, tiny_model: Path
) -> None:
    first = run_training(changed(config, optimiser={"epochs": 0.25}))
    kept = weights(first)
    gone = next(iter(kept))
    kept.pop(gone)
    save_file(kept, first / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="does not fit the model"):
        build_model(changed(config, start_from=str(first)), tiny_model)


def test_a_training_in_four_bits_resumes_to_the_same_weights(
    config: TrainingConfig, tiny_wrapper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = changed(config, model={"source": str(tiny_wrapper), "quantization": "nf4"})
    four = changed(four, optimiser={"gradient_checkpointing": True, "epochs": 1})
    whole = changed(four, output=str(tmp_path / "once"))
    model = train(whole).model
    kinds = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in kinds
    assert model.get_output_embeddings().weight.is_floating_point()
    once = run_training(whole)
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            run_training(four)
    twice = run_training(four)
    ours = weights(twice)
    assert all(tensor.equal(ours[name]) for name, tensor in weights(once).items())
    assert any(bool(tensor.any()) for name, tensor in ours.items() if "lora_B" in name)
    assert "nf4" in (twice / "README.md").read_text()


def test_four_bits_are_near_the_whole(config: TrainingConfig, tiny_wrapper: Path) -> None:
    """And not equal to it, in training as in evaluation: else something else was multiplied."""
    torch.manual_seed(0)
    inputs, found = torch.randn(64, 32), {}
    for kind in (None, "nf4"):
        wanted = changed(config, model={"source": str(tiny_wrapper), "quantization": kind})
        decoder = build_model(wanted, tiny_wrapper).get_base_model().get_decoder()
        layer = decoder.layers[0].mlp.up_proj
        found[kind] = [layer.train(mode)(inputs).detach() for mode in (True, False, True)]
    whole, four = found[None][0], found["nf4"]
    assert four[0].equal(four[1])
    assert four[0].equal(four[2])
    assert 0.02 < (whole - four[0]).norm() / whole.norm() < 0.2


def test_what_cannot_be_quantised_is_refused(
    config: TrainingConfig, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = changed(config, model={"quantization": "nf4"})
    done = tmp_path / "done"
    done.mkdir()
    shape = (
        (tiny_model / "config.json")
        .read_text()
        .replace("{", '{"quantization_config": {"quant_method": "gptq", "bits": 4},', 1)
    )
    (done / "config.json").write_text(shape)
    with pytest.raises(ModelError, match="are quantised already"):
        build_model(four, done)
    monkeypatch.setattr(base, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes: pip install 'medsent\[train\]'"):
        run_training(four)
    assert not Path(four.output).exists()


def test_lack_of_memory_ends_in_one_line(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AdapterTrainer, "training_step", out)
    with pytest.raises(ConfigError, match=r"memory was not enough; .*--dry-run"):
        train(config)


def test_hidden_labels_weigh_nothing(config: TrainingConfig, uneven: Path) -> None:
    """Every other opinion of the uneven ones has two labels: what the test above relies on."""
    rows = pq.read_table(uneven).to_pylist()
    known = [sum(value in (0, 1) for value in row["labels"].values()) for row in rows]
    assert np.unique(known).tolist() == [2, 21]
