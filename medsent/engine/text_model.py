"""The text model alone out of a multimodal checkpoint: a `vllm.general_plugins` hook.

A wrapper such as Gemma 3 12B is a text model behind a vision tower. Nothing here reads images,
so the engine runs the text model alone: no tower, processor or torchvision is loaded, no encoder
is profiled, and CUDA graphs are full, unlike the wrapper's, whose attention mixes two kinds.
"""

import json
import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from medsent.engine import output_layer
from medsent.errors import ModelError

_WRAPPERS: Final = {
    "gemma3": {"gemma3_text": "Gemma3ForCausalLM"},
    "gemma4": {"gemma4_text": "Gemma4ForCausalLM"},
    "idefics3": {"llama": "LlamaForCausalLM"},
    "internvl": {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"},
    "llava": {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"},
    "llava_next": {"mistral": "MistralForCausalLM"},
    "mistral3": {"mistral": "MistralForCausalLM", "ministral3": "Ministral3ForCausalLM"},
    "qwen2_5_vl": {"qwen2_5_vl_text": "Qwen2ForCausalLM"},
    "qwen2_vl": {"qwen2_vl_text": "Qwen2ForCausalLM"},
    "qwen3_vl": {"qwen3_vl_text": "Qwen3ForCausalLM"},
}
"""Type of a wrapper to type of its text model to vLLM's class for it. `tests.models.tried_wrappers`
showed that these answer like the whole model in transformers, with and without a LoRA. Tried and
left out: `aya_vision` (other answers), `llama4` (needs triton here), `gemma3n` (vLLM's class takes
no LoRA)."""

_MODULES: Final = {
    "Gemma3ForCausalLM": "gemma3:Gemma3ForCausalLM",
    "Gemma4ForCausalLM": "gemma4:Gemma4ForCausalLM",
    "LlamaForCausalLM": "llama:LlamaForCausalLM",
    "Ministral3ForCausalLM": "mistral:MistralForCausalLM",
    "MistralForCausalLM": "mistral:MistralForCausalLM",
    "Qwen2ForCausalLM": "qwen2:Qwen2ForCausalLM",
    "Qwen3ForCausalLM": "qwen3:Qwen3ForCausalLM",
}
"""A text model's architecture to vLLM's module and class of it."""

_TEXT: Final = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.text_model.": "model.",
}
"""Prefix of the text model's names in a wrapper to that in the text model itself: of tensors in a
checkpoint, and of modules in an adapter that was trained on the wrapper."""

_OTHER: Final = (
    "audio_tower.",
    "connector.",
    "embed_audio.",
    "embed_vision.",
    "image_newline",
    "multi_modal_projector.",
    "vision_model.",
    "vision_tower.",
    "visual.",
)
"""What wrappers hold beside the text model."""

_CARRIED: Final = ("dtype", "quantization_config", "tie_word_embeddings")
"""What a wrapper's configuration says for its text model."""

_PATTERN: Final = re.compile(r'"re:[^"]*language_model')


def register() -> None:
    """Teach vLLM's text models the names that wrappers have for them; safe to call again."""
    from vllm import ModelRegistry

    for architecture in _MODULES:
        ModelRegistry.register_model(architecture, f"{__name__}:{architecture}")
    output_layer.register()


def __getattr__(architecture: str) -> Any:
    """Return vLLM's class of a text model, which also takes a wrapper's tensors and adapters.

    vLLM asks by name, in the process that loads the model and not where it is registered:
    to import it there would cost each start seconds.
    """
    if architecture not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {architecture!r}")
    from vllm.model_executor.models.utils import WeightsMapper

    module, _, name = _MODULES[architecture].partition(":")
    base: Any = getattr(import_module(f"vllm.model_executor.models.{module}"), name)
    dropped = {f"{place}{other}": None for other in _OTHER for place in ("model.", "")}
    names = WeightsMapper(orig_to_new_prefix={**_TEXT, **dropped})

    def load_weights(self: Any, weights: Any) -> Any:
        return base.load_weights(self, names.apply(weights))

    own = {
        "__module__": __name__,
        "hf_to_vllm_mapper": names | getattr(base, "hf_to_vllm_mapper", WeightsMapper()),
        "load_weights": load_weights,
    }
    return type(architecture, (base,), own)


def read_config(model: Path) -> dict[str, Any]:
    """Return a model folder's `config.json`; nothing where there is none that can be read."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def text_class(config: dict[str, Any], options: dict[str, Any]) -> str | None:
    """Return the class of vLLM's that serves a model's text alone; None where it is left to vLLM.

    `options` are the engine's. Raises `ModelError` for a multimodal model that was not tried,
    unless they say how vLLM is to serve it.
    """
    if options.get("language_model_only") or _names_class(options.get("hf_overrides")):
        return None
    if names_wrapper(config):
        return None
    text = config.get("text_config")
    if not isinstance(text, dict):
        [architecture, *_] = config.get("architectures") or [None]
        return architecture if architecture in _MODULES else None
    found = _WRAPPERS.get(config.get("model_type", ""), {}).get(text.get("model_type", ""))
    if found is None:
        raise ModelError(
            f"model.source: of a multimodal model the text model is served, and that of "
            f"{config.get('model_type')} ({text.get('model_type')}) was not tried; take a text "
            f"model, or one of {', '.join(sorted(_WRAPPERS))}; or let vLLM serve the whole: "
            "engine.options.language_model_only: true"
        )
    return found


def names_wrapper(config: dict[str, Any]) -> bool:
    """Tell whether a wrapper's quantisation selects modules by patterns over the wrapper's names.

    vLLM translates names to the text model's, but not patterns. Then the whole wrapper is served,
    without images.
    """
    quantisation = json.dumps(config.get("quantization_config"))
    return "text_config" in config and bool(_PATTERN.search(quantisation))


def _names_class(overrides: Any) -> bool:
    return not isinstance(overrides, dict | None) or bool((overrides or {}).get("architectures"))


def overrides(model: Path, config: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return vLLM's `hf_overrides` for a model's folder and `config.json`, the user's merged in.

    Raises `ModelError` as `text_class` does.
    """
    own = options.get("hf_overrides") or {}
    if not isinstance(own, dict):
        return own
    changes = {**output_layer.overrides(model, config), **_without(own, "text_config")}
    inner = own.get("text_config")
    within = {**changes, **(inner if isinstance(inner, dict) else {})}
    if not isinstance(config.get("text_config"), dict):
        return changes if "text_config" not in own else {**changes, "text_config": within}
    architecture = text_class(config, options)
    if architecture is None:
        return {**changes, "text_config": _without(within, "architectures")}
    return partial(served, architecture=architecture, changes=within)


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def served(config: Any, architecture: str, changes: dict[str, Any]) -> Any:
    """Return a wrapper's text model as transformers' configuration: vLLM's `hf_overrides`.

    It is pickled by name for the engine's processes. vLLM first calls it with a stand-in that
    has no text model.
    """
    text = getattr(config, "text_config", None)
    if text is not None:
        text.architectures = [architecture]
        for name in _CARRIED:
            if getattr(config, name, None) is not None:
                setattr(text, name, getattr(config, name))
        # M-RoPE has several streams of positions; for text alone they are all the same.
        for name in ("rope_parameters", "rope_scaling"):
            for stream in ("mrope_section", "mrope_interleaved"):
                (getattr(text, name, None) or {}).pop(stream, None)
        config = text
    config.update(changes)
    return config
