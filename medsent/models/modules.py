"""A model's modules by name, with the sizes of their weights, without loading the model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsent.models.weights import listed, read_tensors

Size = tuple[int, int]
"""Outputs and inputs of a linear layer: the shape of its weight."""

TEXT_NAMES = "model."
BARE_NAMES = ""
NAMINGS = {
    TEXT_NAMES: "the text model",
    "model.language_model.": "the multimodal model under transformers 5's names",
    "language_model.model.": "the multimodal model under older names (before transformers 4.52)",
    "model.text_model.": "the multimodal model, whose text model is called text_model",
    BARE_NAMES: "the text model without its head (AutoModel)",
}
"""The prefix of a text layer's name, to the kind of model that has it."""
_LAYER = re.compile(rf"({'|'.join(map(re.escape, NAMINGS))})(layers\.\d+\..+)")
_UNPACKED = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""The types of weights that have one number an element: packed ones are integers."""


def text_layer(name: str) -> tuple[str, str] | None:
    """Split the name of a text layer's module into the prefix and the rest.

    None for any other module, such as those of a vision tower.
    """
    found = _LAYER.fullmatch(name)
    return (found[1], found[2]) if found else None


@dataclass(frozen=True)
class Modules:
    """The modules of a model that an adapter may bind to."""

    sizes: dict[str, Size | None]
    """Module to its size, None where neither the weights nor the configuration tell it. Holds the
    text layers' modules, without prefix; if the model has no text layers, all modules."""
    layered: bool
    """Whether `sizes` holds text layers only."""


def read_modules(folder: Path) -> Modules:
    """Read a model's modules from the headers of its weights, or the index if these are absent.

    The sizes of packed weights come from the configuration. Raises `ModelError` where the
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


def _read(folder: Path) -> Iterator[tuple[str, Size | None]]:
    """Yield the modules that have a weight, of whatever kind, and its size if it tells one."""
    if not any(folder.glob("*.safetensors")) and (names := listed(folder)):
        yield from ((_module(name), None) for name in names)  # the list alone is here
        return
    for name, tensor in read_tensors(folder).items():
        if len(tensor.shape) >= 2:  # norms and scales have one
            whole = name.endswith(".weight") and tensor.dtype in _UNPACKED
            yield _module(name), (tensor.shape[0], tensor.shape[1]) if whole else None


def _module(tensor: str) -> str:
    """Return the module of a tensor such as `q_proj.weight`, `.qweight` or `.weight.absmax`."""
    module, found, _ = tensor.partition(".weight")
    return module if found else tensor.rpartition(".")[0]


def _configured(folder: Path) -> dict[str, Size]:
    """Return the sizes of the text layers that transformers builds from the configuration.

    They are built without weights. Returns nothing where that fails: then only names are compared.
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
