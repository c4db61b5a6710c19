"""The last layer in 32 bits: when it is asked for, and what it gives on a CPU."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from medsent.engine import output_layer

QUANTISED = {"quantization_config": {"quant_method": "gptq"}}


def write(folder: Path, *names: str, index: bool) -> Path:
    if index:
        places = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(places))
    else:
        tensors = {name: np.zeros(1, np.float32) for name in names}
        save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("tensor", "asked"),
    [
        ("lm_head.weight", True),
        ("language_model.lm_head.weight", True),
        ("model.layers.0.mlp.up_proj.qweight", True),
        ("lm_head.qweight", False),
        ("lm_head.weight_packed", False),
        ("language_model.lm_head.weight_scale", False),
        ("lm_head.weight.absmax", False),
    ],
)
def test_32_bits_are_asked_for_unless_the_layer_is_quantised(
    tensor: str, asked: bool, index: bool, tmp_path: Path
) -> None:
    folder = write(tmp_path, "model.norm.weight", tensor, index=index)
    assert output_layer.overrides(folder, QUANTISED) == ({"head_dtype": "float32"} if asked else {})
    assert output_layer.overrides(folder, {}) == {"head_dtype": "float32"}


def test_a_checkpoint_that_cannot_be_read_is_left_to_who_loads_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("no tensors")
    assert output_layer.overrides(tmp_path, QUANTISED) == {"head_dtype": "float32"}


def stock(*_: object) -> str:
    return "as vLLM does it"


def layer(weight: torch.Tensor) -> Any:
    """A layer as vLLM's, whose own product is of 16 bits."""
    quant_method = SimpleNamespace(apply=lambda *_, bias: "in 16 bits")
    return SimpleNamespace(weight=weight, quant_method=quant_method)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_on_a_cpu_logits_are_sums_of_32_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3000, 640).to(dtype)
    bias = torch.randn(3000).to(dtype)
    hidden = torch.randn(5, 640).to(dtype)
    processor = SimpleNamespace(head_dtype=torch.float32)
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    lm_head = layer(weight)
    for _ in range(2):
        found = output_layer._kept(stock)(processor, lm_head, hidden, bias)
        exact = hidden.double() @ weight.double().T + bias.double()
        assert found.dtype == torch.float32
        assert (found - exact).abs().max() < 3e-4
    assert (torch.nn.functional.linear(hidden, weight, bias) - exact).abs().max() > 0.005
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("head_dtype", "weight", "found"),
    [
        (torch.bfloat16, torch.ones(2, 3, dtype=torch.bfloat16), "as vLLM does it"),
        (torch.float32, None, "as vLLM does it"),
        (torch.float32, torch.empty(0), "in 16 bits"),
    ],
)
def test_other_layers_are_left_to_vllm(
    head_dtype: torch.dtype, weight: torch.Tensor, found: str
) -> None:
    processor = SimpleNamespace(head_dtype=head_dtype)
    hidden = torch.ones(1, 3, dtype=torch.bfloat16)
    assert output_layer._kept(stock)(processor, layer(weight), hidden, None) == found
