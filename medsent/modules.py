"""A model's modules by name, with the sizes of their weights, without loading the model."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from medsent.errors import ModelError
from medsent.model import is_pointer

Size = tuple[int, int]
"""Outputs and inputs of a linear layer: the shape of its weight."""

TEXT_NAMES = "model."
NAMINGS = {
    TEXT_NAMES: "the text model",
    "model.language_model.": "the multimodal model under transformers 5's names",
    "language_model.model.": "the multimodal model under older names (before transformers 4.52)",
    "model.text_model.": "the multimodal model, whose text model is called text_model",
}
"""What stands before a text layer's name, to what is so named."""
_LAYER = re.compile(rf"({'|'.join(map(re.escape, NAMINGS))})(layers\.\d+\..+)")
_UNPACKED = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""The types of weights that have one number an element: packed ones are integers."""


def text_layer(name: str) -> tuple[str, str] | None:
    """Split a module's name into what stands before the text layer's own name, and that.

    None for what is no text layer: a vision tower's are never taken for one.
    """
    found = _LAYER.fullmatch(name)
    return (found[1], found[2]) if found else None


@dataclass(frozen=True)
class Modules:
    """What of a model an adapter may bind to."""

    sizes: dict[str, Size | None]
    """Module to its size, None where neither the weights nor the configuration tell it. The text
    layers' own names, whatever stands before them; all modules where the model has none."""
    layered: bool
    """Whether these are text layers."""


def read_modules(folder: Path) -> Modules:
    """Read a model's modules from the headers of its weights, or the index where they are away.

    The sizes of packed weights are those of the configuration. Raises `ModelError` where the
    folder has no whole safetensors.
    """
    found: dict[str, Size | None] = {}
    for name, size in _read(folder):
        found[name] = size or found.get(name)
    layers = {place[1]: size for name, size in found.items() if (place := text_layer(name))}
    if None in layers.values() and any(folder.glob("*.safetensors")):
        configured = _configured(folder)
        layers = {name: size or configured.get(name) for name, size in layers.items()}
    return Modules(layers or found, bool(layers))


def refuse_partial(folder: Path) -> None:
    """Raise `ModelError` where weights are no whole safetensors, or some of an index are away."""
    for _ in _read(folder):
        pass


def _read(folder: Path) -> Iterator[tuple[str, Size | None]]:
    """Yield the modules that have a weight, of whatever kind, and its size if it tells one."""
    files = sorted(folder.glob("*.safetensors"))
    names = _indexed(folder)
    if files and (away := sorted(set(names.values()) - {file.name for file in files})):
        raise ModelError(f"{folder}: the model lacks {away[0]}, which its index names; get it anew")
    if not files and not names:
        held = next((file.name for file in sorted(folder.glob("*.bin"))), None)
        raise ModelError(
            f"{folder}: the model has no safetensors{f', {held} alone' if held else ''}; load it "
            "with transformers and write it with save_pretrained"
        )
    if not files:
        yield from ((_module(name), None) for name in names)
    for file in files:
        yield from _headers(file)


def _headers(file: Path) -> Iterator[tuple[str, Size | None]]:
    try:
        with safe_open(file, framework="np") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - the handle is no mapping
                weight = tensors.get_slice(key)
                shape = weight.get_shape()
                if len(shape) >= 2:  # norms and scales have one
                    whole = key.endswith(".weight") and weight.get_dtype() in _UNPACKED
                    yield _module(key), (shape[0], shape[1]) if whole else None
    except (OSError, SafetensorError) as error:
        told = "a git-lfs pointer; run git lfs pull" if is_pointer(file) else "no whole safetensors"
        raise ModelError(f"{file}: the model's weights are {told}") from error


def _module(tensor: str) -> str:
    """Return the module of a tensor such as `q_proj.weight`, `.qweight` or `.weight.absmax`."""
    module, found, _ = tensor.partition(".weight")
    return module if found else tensor.rpartition(".")[0]


def _indexed(folder: Path) -> dict[str, str]:
    """Return tensor to file by the index, if there is one."""
    found: dict[str, str] = {}
    for path in folder.glob("*.safetensors.index.json"):
        try:
            found |= json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: the model's index cannot be read; get it anew") from error
    return found


def _configured(folder: Path) -> dict[str, Size]:
    """Return the text layers' sizes as transformers builds them of the configuration, unfilled.

    Nothing where it cannot: then names alone are compared.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config.get_text_config())
    except Exception:  # noqa: BLE001 - of a type it does not know, or for a library not here
        return {}
    return {
        place[1]: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and (place := text_layer(name))
    }
