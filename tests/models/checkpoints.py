"""Small checkpoints of one linear layer, under the names that libraries give it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.chaos.tokenizer import write_tokenizer

TEXT: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_size": 8,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "num_hidden_layers": 2,
    "vocab_size": 16,
}
WRAPPER: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": TEXT,
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 8},
}
OLMO = {**TEXT, "architectures": ["OlmoForCausalLM"], "model_type": "olmo"}
"""A text model that no wrapper of ours has."""
SIZE = (16, 8)
"""Of the layer that each has, `layers.0.self_attn.q_proj`, by these configurations."""

Tensors = dict[str, tuple[str, list[int]]]
"""Tensor to its type and shape."""

STORED: dict[str, Tensors] = {
    "bfloat16": {"weight": ("bfloat16", [16, 8])},
    "bitsandbytes": {
        "weight": ("uint8", [64, 1]),
        "weight.absmax": ("float32", [2]),
        "weight.quant_map": ("float32", [16]),
        "weight.quant_state.bitsandbytes__nf4": ("uint8", [90]),
    },
    "gptq": {
        "qweight": ("int32", [1, 16]),
        "qzeros": ("int32", [1, 2]),
        "scales": ("float16", [1, 16]),
        "g_idx": ("int32", [8]),
    },
    "awq": {
        "qweight": ("int32", [8, 2]),
        "qzeros": ("int32", [1, 2]),
        "scales": ("float16", [1, 16]),
    },
    "compressed-tensors": {
        "weight_packed": ("int32", [16, 1]),
        "weight_scale": ("bfloat16", [16, 1]),
        "weight_shape": ("int64", [2]),
    },
    "fp8": {"weight": ("float8_e4m3fn", [16, 8]), "weight_scale": ("float32", [1])},
    "int8": {"weight": ("int8", [16, 8]), "weight_scale": ("bfloat16", [16, 1])},
}
"""Kind to how it stores a layer."""


def write_model(
    folder: Path,
    config: dict[str, Any] = TEXT,
    module: str = "model.layers.0.self_attn.q_proj",
    stored: str = "bfloat16",
    **more: tuple[str, list[int]],
) -> Path:
    """Write a checkpoint, with a tokenizer; `more` are tensors besides, by their whole names."""
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config))
    write_tensors(
        folder / "model.safetensors",
        {**{f"{module}.{name}": found for name, found in STORED[stored].items()}, **more},
    )
    return folder


def write_tensors(file: Path, tensors: Tensors) -> None:
    """Write tensors full of ones."""
    ones = {n: torch.ones(shape).to(getattr(torch, kind)) for n, (kind, shape) in tensors.items()}
    save_file(ones, file)
