"""Whether a model's weights are whole, by their files' headers: vLLM does not tell.

Where the checkpoint lacks a linear layer, vLLM leaves its weights uninitialised, and answers.
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from medsent.engine.library_errors import first_line
from medsent.engine.text_model import read_config
from medsent.errors import ModelError
from medsent.models.source import is_pointer

logger = logging.getLogger(__name__)

_LAYER = re.compile(r"(.*?\blayers)\.(\d+)\.(.+)\.[^.]+")
"""A module of a layer: the stack it belongs to, the layer's number, the module's name in it."""
_OF_IMAGES = re.compile("vision|visual|image|audio|encoder")
_FEWEST_LAYERS = 3


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header tells of it."""

    shape: tuple[int, ...]
    dtype: str
    """By the names of safetensors: `BF16`, `I32`."""


Tensors = dict[str, Tensor]
"""By name."""


def refuse_incomplete(folder: Path) -> None:
    """Raise `ModelError` where a model's weights are damaged, or a file or tensor is not there.

    What only seems to be missing gets a warning: models differ, so it may be right as it is.
    """
    tensors = read_tensors(folder)
    if lost := sorted(set(listed(folder)) - set(tensors)):
        raise _not_whole(folder, f"there is no tensor {lost[0]}, which the index names")
    if doubt := _doubt(tensors, read_config(folder)):
        logger.warning(
            f"WARNING: the weights in {folder} may not be whole: {doubt}. vLLM answers all the "
            "same, with whatever is in memory in place of what is missing; if it should be there, "
            "fetch the weights again"
        )


def read_tensors(folder: Path) -> Tensors:
    """Read the headers of all files of weights.

    Raises `ModelError` where there are none as safetensors, or one is damaged or not there.
    """
    files = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
    if not files:
        held = next((f", only {file.name}" for file in sorted(folder.glob("*.bin"))), "")
        raise ModelError(
            f"model.source: {folder} holds no weights as safetensors{held}; load it with "
            "transformers and write it with save_pretrained"
        )
    if gone := sorted(set(listed(folder).values()) - set(files)):
        raise _not_whole(folder, f"there is no {gone[0]}, which the index names")
    return {name: tensor for path in files.values() for name, tensor in _header(path)}


def listed(folder: Path, form: str = "*") -> dict[str, str]:
    """Return tensor to file from the index `<form>.safetensors.index.json`; default: from all.

    Empty where there is no index.

    Raises `ModelError` where an index is damaged.
    """
    found: dict[str, str] = {}
    for path in folder.glob(f"{form}.safetensors.index.json"):
        try:
            found |= json.loads(path.read_text(encoding="utf-8"))["weight_map"].items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _not_whole(folder, f"{path.name} is damaged") from error
    return found


def _header(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is no mapping
                held = file.get_slice(name)
                yield name, Tensor(tuple(held.get_shape()), held.get_dtype())
    except (SafetensorError, OSError) as error:
        told = f"{path} is damaged or not all of it is there ({first_line(error)}); fetch it again"
        if is_pointer(path):
            told = f"{path} is not the file itself but a git-lfs pointer to it; run git lfs pull"
        raise ModelError(f"model.source: {told}") from error


def _not_whole(folder: Path, missing: str) -> ModelError:
    return ModelError(
        f"model.source: the weights in {folder} are not whole: {missing}; fetch them again"
    )


def _doubt(tensors: Tensors, config: dict[str, Any]) -> str | None:
    """Return what a text model of such a configuration has and these tensors seem not to have."""
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    layers = text.get("num_hidden_layers")
    packed = any(isinstance(each.get("quantization_config"), dict) for each in (config, text))
    if not isinstance(layers, int) or packed:
        return None
    stack, found = max(_stacks(tensors).items(), key=lambda item: len(item[1]), default=("", {}))
    if found and len(found) < layers:
        return f"there are {len(found)} layers of {layers}"
    # Where there are experts, or layers of several kinds, one may lack what the others have.
    varied = any("expert" in name for name in text) or "mamba" in str(text.get("layer_types"))
    return None if varied else _gap(stack, {n: found[n] for n in found if n < layers})


def _gap(stack: str, layers: dict[int, set[str]]) -> str | None:
    """Return a module that one layer alone does not have."""
    if len(layers) < _FEWEST_LAYERS:
        return None
    for module in sorted(set.union(*layers.values())):
        without = [number for number, modules in layers.items() if module not in modules]
        if len(without) == 1:
            return f"there is no {stack}.{without[0]}.{module}, which all other layers have"
    return None


def _stacks(tensors: Tensors) -> dict[str, dict[int, set[str]]]:
    """Return stack to layer to its modules, those of images and sounds left out."""
    found: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in tensors:
        if (match := _LAYER.fullmatch(name)) and not _OF_IMAGES.search(match[1]):
            found[match[1]][int(match[2])].add(match[3])
    return found
