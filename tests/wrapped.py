"""The embedded text model inside a multimodal wrapper, laid out as Gemma 3 12B is on the hub."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

VOCABULARY: Final = 262_208
"""Rows of the hub's embedding: the tokenizer's 262,144 words, the image's token, and padding."""
_IMAGE_TOKENS: Final = {"boi": 255_999, "eoi": 256_000, "image": 262_144}
_VISION: Final = {
    "hidden_size": 32,
    "image_size": 56,
    "intermediate_size": 64,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": 14,
    "vision_use_head": False,
}
_KEPT: Final = ("generation_config.json", "tokenizer_config.json")


def write_wrapped(folder: Path, text_model: Path) -> Path:
    """Write a `Gemma3ForConditionalGeneration` checkpoint with the text model's weights.

    The vision tower is small and random. Tensors have the hub's names, in two files with an index.
    """
    folder.mkdir(parents=True)
    config = _config(json.loads((text_model / "config.json").read_text()))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in _KEPT:
        shutil.copy(text_model / name, folder)
    _write_tokenizer(folder, text_model)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56}})
    )
    _write_weights(folder, config, text_model)
    return folder


def _config(text: dict[str, Any]) -> dict[str, Any]:
    own = {"architectures", "_name_or_path", "transformers_version", "dtype"}
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": _IMAGE_TOKENS["boi"],
        "eoi_token_index": _IMAGE_TOKENS["eoi"],
        "eos_token_id": [1, 106],
        "image_token_index": _IMAGE_TOKENS["image"],
        "initializer_range": 0.02,
        "mm_tokens_per_image": 4,
        "model_type": "gemma3",
        "text_config": {k: v for k, v in text.items() if k not in own}
        | {"model_type": "gemma3_text", "vocab_size": VOCABULARY},
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
        "vision_config": _VISION,
    }


def _write_tokenizer(folder: Path, text_model: Path) -> None:
    """Write the text model's tokenizer with the image's token, as the wrapper's has it."""
    tokenizer = json.loads((text_model / "tokenizer.json").read_text(encoding="utf-8"))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    image = {"id": _IMAGE_TOKENS["image"], "content": "<image_soft_token>", "special": True}
    tokenizer["added_tokens"].append({**image, **flags})
    (folder / "tokenizer.json").write_text(
        json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8"
    )


def _write_weights(folder: Path, config: dict[str, Any], text_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    text = load_file(text_model / "model.safetensors")
    embedding = text["model.embed_tokens.weight"]
    padding = embedding.new_zeros((VOCABULARY - len(embedding), embedding.shape[1]))
    import torch

    text["model.embed_tokens.weight"] = torch.cat([embedding, padding])
    parts = [{f"language_model.{name}": tensor for name, tensor in text.items()}, _vision(config)]
    places: dict[str, str] = {}
    for number, tensors in enumerate(parts, start=1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": places})
    )


def _vision(config: dict[str, Any]) -> dict[str, Any]:
    """Return a random vision tower and projector under the hub's names."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    small = {**config["text_config"], "num_hidden_layers": 1, "vocab_size": 8, "layer_types": None}
    small |= {"intermediate_size": 8}
    shape: Any = Gemma3Config(text_config=small, vision_config=_VISION, mm_tokens_per_image=4)
    torch.manual_seed(0)
    state = Gemma3ForConditionalGeneration(shape).state_dict()
    wanted = {n: t for n, t in state.items() if "vision_tower" in n or "multi_modal" in n}
    return {_hub_name(name): tensor.bfloat16().contiguous() for name, tensor in wanted.items()}


def _hub_name(name: str) -> str:
    bare = name.removeprefix("model.")
    if bare.startswith("vision_tower.") and not bare.startswith("vision_tower.vision_model."):
        return bare.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return bare


NAMINGS: Final = {
    "transformers_5": "base_model.model.model.language_model.layers.",
    "older_peft": "base_model.model.language_model.model.layers.",
    "text_model": "base_model.model.model.layers.",
}
"""What an adapter was trained with, to the beginning of its tensors' names."""


def write_renamed(folder: Path, adapter: Path, naming: str) -> Path:
    """Write an adapter with the tensor names that training by `naming` would have given."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    shutil.copy(adapter / "adapter_config.json", folder)
    tensors = load_file(adapter / "adapter_model.safetensors")
    begin = NAMINGS[naming]
    renamed = {begin + name.split("layers.", 1)[1]: tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    return folder
