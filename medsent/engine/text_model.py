"""The text model alone out of a multimodal checkpoint: a `vllm.general_plugins` hook.

A wrapper such as Gemma 3 12B is a text model behind a vision tower. Nothing here reads images,
so that the engine is one of the text model: no tower, processor or torchvision is loaded, no
encoder is profiled, and CUDA graphs are full where the wrapper's attention mixes two ways.
"""

import json
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from medsent.errors import ModelError

_WRAPPERS: Final = {"gemma3": {"gemma3_text": "Gemma3ForCausalLM"}}
"""Wrapper to its text models to vLLM's class of it: those that were tried against transformers."""

_MODULES: Final = {"Gemma3ForCausalLM": "gemma3"}
"""vLLM's class of a text model to its module."""

_TEXT: Final = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
}
"""What wrappers call the text model's tensors, and those that train an adapter its modules."""

_OTHER: Final = ("vision_tower.", "multi_modal_projector.")
"""What wrappers hold beside the text model."""

_CARRIED: Final = ("dtype", "quantization_config", "tie_word_embeddings")
"""What a wrapper's configuration says for its text model."""


def register() -> None:
    """Teach vLLM's text models the names that wrappers have for them; safe to call again."""
    from vllm import ModelRegistry

    for architecture in _MODULES:
        ModelRegistry.register_model(architecture, f"{__name__}:{architecture}")


def __getattr__(architecture: str) -> Any:
    """Return vLLM's class of a text model, which also takes a wrapper's tensors and adapters.

    vLLM asks by name, in the process that loads the model and not where it is registered:
    to import it there would cost each start seconds.
    """
    if architecture not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {architecture!r}")
    from vllm.model_executor.models.utils import WeightsMapper

    module = import_module(f"vllm.model_executor.models.{_MODULES[architecture]}")
    base: Any = getattr(module, architecture)
    others = {f"{place}{name}": None for name in _OTHER for place in ("model.", "")}
    names = WeightsMapper(orig_to_new_prefix={**_TEXT, **others})
    own = {"hf_to_vllm_mapper": names | getattr(base, "hf_to_vllm_mapper", WeightsMapper())}
    return type(architecture, (base,), {**own, "__module__": __name__})


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
    text = config.get("text_config")
    if not isinstance(text, dict):
        [architecture, *_] = config.get("architectures") or [None]
        return architecture if architecture in _MODULES else None
    found = _WRAPPERS.get(config.get("model_type", ""), {}).get(text.get("model_type", ""))
    if found is None:
        raise ModelError(
            f"model.source: no text model was tried alone out of {config.get('model_type')} with "
            f"{text.get('model_type')}; take another model (of {', '.join(sorted(_WRAPPERS))}, or "
            "of text), or let vLLM serve the whole: engine.options.language_model_only: true"
        )
    return found


def _names_class(overrides: Any) -> bool:
    return not isinstance(overrides, dict | None) or bool((overrides or {}).get("architectures"))


def overrides(config: dict[str, Any], architecture: str | None, own: dict[str, Any]) -> Any:
    """Return vLLM's `hf_overrides` for a model, the user's `own` merged in."""
    head = {} if _has_quantised_head(config) else {"head_dtype": "float32"}
    text = {**head, **own.get("text_config", {})}
    outer = {**head, **{name: value for name, value in own.items() if name != "text_config"}}
    if "text_config" not in config:
        return outer | text
    if architecture is None:
        return outer | {"text_config": text}
    return partial(served, architecture=architecture, changes=outer | text)


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
        config = text
    config.update(changes)
    return config


def _has_quantised_head(config: dict[str, Any]) -> bool:
    """Tell whether the last layer is quantised, of which vLLM makes no product in 32 bits."""
    return False
