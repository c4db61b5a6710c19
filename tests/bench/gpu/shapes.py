"""Models without weights: Gemma 3 12B's shapes as on the hub, and a small one of its kind.

Speed does not depend on weights' values, so that vLLM makes them up (`load_format: dummy`).
"""

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import numpy as np

TEXT_12B: Final = {
    "model_type": "gemma3_text",
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 1024,
    "max_position_embeddings": 131072,
    "vocab_size": 262208,
}
TEXT_TINY: Final = {
    **TEXT_12B,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
}
_VISION: Final = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "image_size": 896,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}
RANK: Final = 16
TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
_SEED: Final = 0
_PLUGIN: Final = "medsent_text_model"


def serves_wrapper() -> bool:
    """Tell whether vLLM finds our hook that takes the text model out of a wrapper."""
    return any(found.name == _PLUGIN for found in entry_points(group="vllm.general_plugins"))


def write_model(folder: Path, text: Mapping[str, Any], tokenizer: Path, wrapper: bool) -> Path:
    """Write a model's folder of such a text model, alone or in its wrapper; return it.

    `tokenizer` is a folder with tokenizer files. The index names tensors that no file holds.
    """
    folder.mkdir(parents=True)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, folder)
    config = _wrapped(text) if wrapper else _alone(text)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    names = [f"{module}.weight" for module in attention(text, wrapper)]
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def attention(text: Mapping[str, Any], wrapper: bool) -> dict[str, tuple[int, int]]:
    """Return the attention's projections under the hub's names, to their outputs and inputs."""
    hidden, head = text["hidden_size"], text["head_dim"]
    queries, keys = text["num_attention_heads"] * head, text["num_key_value_heads"] * head
    shapes = ((queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries))
    before = "language_model.model" if wrapper else "model"
    return {
        f"{before}.layers.{layer}.self_attn.{name}": shape
        for layer in range(text["num_hidden_layers"])
        for name, shape in zip(TARGETS, shapes, strict=True)
    }


def write_adapter(folder: Path, text: Mapping[str, Any], wrapper: bool) -> Path:
    """Write a random LoRA on the attention's projections, no half of it zero; return its folder.

    Its names are those of a training by transformers 5, where the text model stands elsewhere.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    random = np.random.default_rng(_SEED)
    tensors = {}
    for module, (outputs, inputs) in attention(text, wrapper).items():
        for half, shape in (("lora_A", (RANK, inputs)), ("lora_B", (outputs, RANK))):
            values = 0.02 * random.standard_normal(shape, np.float32)
            tensors[f"base_model.model.{_trained(module)}.{half}.weight"] = values.astype(
                np.float16
            )
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "random",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _trained(module: str) -> str:
    return module.replace("language_model.model.", "model.language_model.")


def _alone(text: Mapping[str, Any]) -> dict[str, Any]:
    return {"architectures": ["Gemma3ForCausalLM"], **text, "torch_dtype": "bfloat16"}


def _wrapped(text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": dict(text),
        "vision_config": _VISION,
        "mm_tokens_per_image": 256,
        "boi_token_index": 255_999,
        "eoi_token_index": 256_000,
        "image_token_index": 262_144,
        "eos_token_id": [1, 106],
        "torch_dtype": "bfloat16",
    }
