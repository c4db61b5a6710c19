"""Whether a model's weights are whole, by their files' headers: vLLM does not tell.

Of a linear layer that its checkpoint lacks it leaves the weights as the memory was, and answers.
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from medsent.errors import ModelError

_INDEX = "model.safetensors.index.json"
_LAYER = re.compile(r"(.*?\blayers)\.(\d+)\.(.+)\.[^.]+")
"""A module of a layer: the stack it belongs to, the layer's number, the module's name in it."""
_OF_IMAGES = re.compile("vision|visual|image|audio|encoder")
_FEWEST_LAYERS = 3

Tensors = dict[str, tuple[int, ...]]
"""Name to shape."""


def refuse_incomplete(folder: Path) -> None:
    """Raise `ModelError` where a model's weights are damaged, or part of them is not there."""
    tensors = _tensors(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = {**config, **(config.get("text_config") or {})}
    for missing in (_not_as_listed(folder, tensors), _absent(tensors, text)):
        if missing:
            raise ModelError(
                f"model.source: the weights in {folder} are not whole: {missing}; fetch them again"
            )


def _tensors(folder: Path) -> Tensors:
    """Read the headers of all files."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - the handle is no mapping
                    found[name] = tuple(file.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"model.source: {path} is damaged or not all of it is there "
                f"({_first_line(error)}); fetch it again"
            ) from error
    if not found:
        raise ModelError(f"model.source: {folder} holds no weights as safetensors")
    return found


def _not_as_listed(folder: Path, tensors: Tensors) -> str | None:
    try:
        listed = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        return f"{_INDEX} is damaged"
    gone = sorted(set(listed.values()) - {path.name for path in folder.iterdir()})
    lost = sorted(set(listed) - set(tensors))
    if gone:
        return f"there is no {gone[0]}"
    return f"there is no tensor {lost[0]}, which {_INDEX} names" if lost else None


def _absent(tensors: Tensors, config: dict[str, Any]) -> str | None:
    """Return what a model of such a configuration has and these tensors do not."""
    words = config.get("vocab_size", 0)
    if not any(len(shape) == 2 and shape[0] >= words for shape in tensors.values()):
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


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
