"""What is added to a model's weights is what the library adds, whatever a plain LoRA's settings."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from medsent.errors import AdapterError, ModelError
from medsent.models.merge import merge
from tests.conftest import AdapterWriter
from tests.models.checkpoints import TEXT, WRAPPER, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random layers, in bfloat16 and in more than one file."""
    torch.manual_seed(0)
    shape = Gemma3TextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    Gemma3ForCausalLM(shape).bfloat16().save_pretrained(folder, max_shard_size="20KB")
    return folder


def _adapter(model: Path, folder: Path, **settings: Any) -> Path:
    base = Gemma3ForCausalLM.from_pretrained(model, dtype=torch.float32)
    shape = LoraConfig(task_type="CAUSAL_LM", **settings)
    adapted: Any = get_peft_model(base, shape)
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 12, "target_modules": "all-linear"},
        {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 2, "v_proj": 8},
            "alpha_pattern": {"layers.1.self_attn.q_proj": 32, "v_proj": 3},
        },
    ],
    ids=["all linear", "rslora", "patterns"],
)
def test_sums_are_those_of_the_library(model: Path, tmp_path: Path, settings: Any) -> None:
    adapter = _adapter(model, tmp_path / "adapter", **settings)
    ours = _weights(merge(str(model), str(adapter), str(tmp_path / "out")))
    base = Gemma3ForCausalLM.from_pretrained(model, dtype=torch.float32)
    tuned: Any = PeftModel.from_pretrained(base, str(adapter))
    theirs = tuned.merge_and_unload(safe_merge=True).bfloat16().state_dict()
    assert len(list(model.glob("*.safetensors"))) > 1
    assert ours.keys() == _weights(model).keys()
    for name, tensor in ours.items():
        assert tensor.equal(theirs[name]), name
    assert not all(tensor.equal(ours[name]) for name, tensor in _weights(model).items())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use_qalora": True}, "a LoRA with use_qalora"),
        ({"bias": "lora_only"}, "a LoRA with bias"),
        ({"fan_in_fan_out": True}, "a LoRA with fan_in_fan_out"),
        ({"init_lora_weights": "pissa_niter_4"}, "was begun by pissa_niter_4"),
    ],
)
def test_a_lora_that_is_no_plain_sum_is_refused(
    model: Path, write_adapter: AdapterWriter, tmp_path: Path, settings: Any, told: str
) -> None:
    adapter = write_adapter(tmp_path / "adapter", shape=(32, 32), **settings)
    with pytest.raises(AdapterError, match=told):
        merge(str(model), str(adapter), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_two_weights_of_one_name_are_refused(
    model: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    """The layers under two namings: the adapter does not say which it means."""
    twice = tmp_path / "twice"
    twice.mkdir()
    (twice / "config.json").write_text("{}")
    weights = _weights(model)
    more = {f"language_model.{name}": tensor.clone() for name, tensor in weights.items()}
    save_file({**weights, **more}, twice / "model.safetensors")
    adapter = write_adapter(tmp_path / "adapter", shape=(32, 32))
    with pytest.raises(AdapterError, match="the model has 2 weights of that name"):
        merge(str(twice), str(adapter), str(tmp_path / "out"))


def test_sums_that_are_not_finite_are_refused(
    model: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", shape=(32, 32), lora_alpha=1e39)
    with pytest.raises(AdapterError, match="not finite"):
        merge(str(model), str(adapter), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("old", "new"),
    [(".weight", ".default.weight"), ("base_model.model.model.", "base_model.model.")],
    ids=["as in training", "of a model without its head"],
)
def test_an_adapter_of_any_names_is_added(
    model: Path, write_adapter: AdapterWriter, tmp_path: Path, old: str, new: str
) -> None:
    plain = write_adapter(tmp_path / "plain", shape=(32, 32))
    other = write_adapter(tmp_path / "other", shape=(32, 32))
    tensors = load_file(plain / "adapter_model.safetensors")
    renamed = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    save_file(renamed, other / "adapter_model.safetensors")
    made = [
        _weights(merge(str(model), str(each), str(tmp_path / f"{each.name}-out")))
        for each in (plain, other)
    ]
    assert all(tensor.equal(made[1][name]) for name, tensor in made[0].items())
    assert not all(tensor.equal(made[1][name]) for name, tensor in _weights(model).items())


def test_patterns_may_be_null(model: Path, write_adapter: AdapterWriter, tmp_path: Path) -> None:
    adapter = write_adapter(
        tmp_path / "adapter", shape=(32, 32), rank_pattern=None, alpha_pattern=None
    )
    assert merge(str(model), str(adapter), str(tmp_path / "out")).is_dir()


def test_a_model_in_eight_bits_is_refused(write_adapter: AdapterWriter, tmp_path: Path) -> None:
    """Whether its configuration says so, at the top or for the text model, or not at all."""
    adapter = write_adapter(tmp_path / "adapter", shape=(16, 8))
    held = {"quantization_config": {"quant_method": "fp8"}}
    said = write_model(tmp_path / "said", {**WRAPPER, "text_config": {**TEXT, **held}})
    with pytest.raises(ModelError, match="are quantised; merge, then quantise"):
        merge(str(said), str(adapter), str(tmp_path / "out"))
    unsaid = write_model(tmp_path / "unsaid", stored="fp8")
    with pytest.raises(
        AdapterError, match=r"a weight of the model, which is torch[.]float8_e4m3fn"
    ):
        merge(str(unsaid), str(adapter), str(tmp_path / "out"))


def test_a_model_of_which_only_the_index_is_here_is_refused(
    model: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors.index.json"):
        shutil.copy(model / name, bare)
    adapter = write_adapter(tmp_path / "adapter", shape=(32, 32))
    with pytest.raises(ModelError, match=r"^--model: .* has no model-00001-of-\d+\.safetensors"):
        merge(str(bare), str(adapter), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
