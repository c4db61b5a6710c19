"""Whether a model's weights are whole, by their files' headers: vLLM does not tell.

Of a linear layer that its checkpoint lacks it leaves the weights as the memory was, and answers.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from medsent.engine.words import first_line
from medsent.errors import ModelError
from medsent.model import is_pointer

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
    """Raise `ModelError` where a model's weights are damaged, or part of them is not there."""
    tensors = read_tensors(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = {**config, **(config.get("text_config") or {})}
    lost = sorted(set(listed(folder)) - set(tensors))
    missing = f"there is no tensor {lost[0]}, which the index names" if lost else None
    if missing := missing or _absent(tensors, text):
        raise _not_whole(folder, missing)


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


def listed(folder: Path) -> dict[str, str]:
    """Return tensor to file by the index; nothing where there is none."""
    found: dict[str, str] = {}
    for path in folder.glob("*.safetensors.index.json"):
        try:
            found |= json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        except (OSError, ValueError, KeyError, TypeError) as error:
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


def _absent(tensors: Tensors, config: dict[str, Any]) -> str | None:
    """Return what a model of such a configuration has and these tensors do not."""
    words = config.get("vocab_size", 0)
    if not any(len(t.shape) == 2 and t.shape[0] >= words for t in tensors.values()):
        return f"no tensor has the {words} rows of an embedding"
    stacks = _stacks(tensors)
    layers = config.get("num_hidden_layers", 0)
    depths = [len(found) for stack, found in stacks.items() if not _OF_IMAGES.search(stack)]
    if depths and max(depths) < layers:
        return f"there are {max(depths)} layers of {layers}"
    # Where there are experts, the first layer may have none.
    return None if any("expert" in name for name in config) else _gap(stacks)


def _gap(stacks: dict[str, dict[int, set[str]]]) -> str | None:
    """Return a module that one layer alone does not have."""
    for stack, layers in stacks.items():
        if len(layers) < _FEWEST_LAYERS:
            continue
        for module in sorted(set.union(*layers.values())):
            without = [number for number, modules in layers.items() if module not in modules]
            if len(without) == 1:
                return f"there is no {stack}.{without[0]}.{module}, which all other layers have"
    return None


def _stacks(tensors: Tensors) -> dict[str, dict[int, set[str]]]:
    """Return stack to layer to its modules: a model of images and text has several stacks."""
    found: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in tensors:
        if match := _LAYER.fullmatch(name):
            found[match[1]][int(match[2])].add(match[3])
    return found
