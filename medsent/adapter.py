"""A LoRA adapter's folder: does it fit the model, and does it change anything?"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize, safe_open

from medsent.cache import fetched
from medsent.errors import AdapterError, StorageError
from medsent.hashes import sha256_file

_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_REFUSED = {
    "use_dora": "DoRA",
    "modules_to_save": "modules_to_save",
    "alora_invocation_tokens": "aLoRA",
}


@dataclass(frozen=True)
class Adapter:
    """An adapter that was checked against a model."""

    source: str
    """A folder, or `s3://` and `gs://` to one."""
    folder: Path
    """On the machine that checked it: the source itself, or a copy of its objects."""
    rank: int
    sha256: str
    """Of the weights."""
    settings_sha256: str
    """Of `adapter_config.json`: its alpha scales what the weights do."""

    def on_this_node(self) -> Path:
        """Return its folder on the machine that calls, fetched there if need be.

        Raises `AdapterError` where it is not there any more, or not what was checked.
        """
        folder = _folder(self.source, self.source)
        try:
            now = sha256_file(folder / WEIGHTS), sha256_file(folder / _CONFIG)
        except OSError as error:
            raise AdapterError(f"{self.source} is not on every node: {error.strerror}") from error
        if now != (self.sha256, self.settings_sha256):
            raise AdapterError(
                f"{self.source} was rewritten since the job began; give the new one another name"
            )
        return folder


def open_adapter(variant: str, path: str, model_folder: Path) -> Adapter:
    """Check a variant's adapter as `fit_adapter` does; errors name the variant."""
    return fit_adapter(f"variants.{variant}.adapter", path, model_folder)


def fit_adapter(setting: str, path: str, model_folder: Path) -> Adapter:
    """Check an adapter without an engine: its files, and that every tensor binds to a module.

    Raises `AdapterError` that names the setting it comes from and the adapter.
    """
    source = path if "://" in path else str(Path(path).expanduser().resolve())
    name = f"{setting}: {source}"
    folder = _folder(source, name)
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        rank = int(config["r"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AdapterError(
            f"{name} has no readable {_CONFIG}; give the folder of a LoRA"
        ) from error
    for key, what in _REFUSED.items():
        if config.get(key):
            raise AdapterError(f"{name} uses {what}, which vLLM cannot serve; train a plain LoRA")
    try:
        tensors = dict(deserialize((folder / WEIGHTS).read_bytes()))
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{name} has no whole {WEIGHTS} ({error})") from error
    _bind(name, tensors, _shapes(model_folder))
    return Adapter(
        source, folder, rank, sha256_file(folder / WEIGHTS), sha256_file(folder / _CONFIG)
    )


def _folder(source: str, name: str) -> Path:
    try:
        return fetched(source)
    except FileNotFoundError as error:
        raise AdapterError(f"{name}: {error.strerror}; give the folder of a LoRA") from error
    except OSError as error:
        raise StorageError(f"{name} cannot be fetched: {error.strerror}") from error


def _pairs(name: str, keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Group tensor names by module: (lora_A, lora_B)."""
    pairs: dict[str, dict[str, str]] = {}
    for key in keys:
        for half in ("lora_A", "lora_B"):
            if f".{half}." in key:
                pairs.setdefault(_module(key.split(f".{half}.")[0]), {})[half] = key
                break
        else:
            raise AdapterError(f"{name} holds the tensor {key}, which is no LoRA pair")
    broken = [module for module, halves in pairs.items() if len(halves) != 2]
    if broken or not pairs:
        what = f"lacks one half of {broken[0]}" if broken else "holds no tensors"
        raise AdapterError(f"{name} {what}; the file is not a whole adapter")
    return {module: (halves["lora_A"], halves["lora_B"]) for module, halves in pairs.items()}


def _bind(name: str, tensors: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    pairs = _pairs(name, tensors)
    for module, (down, up) in pairs.items():
        if module not in shapes:
            raise AdapterError(
                f"{name} targets {module}, which the model does not have; "
                "it was trained for another model, or its target names match nothing"
            )
        mine = (tensors[up]["shape"][0], tensors[down]["shape"][1])
        theirs = shapes[module]
        if theirs and mine != theirs:
            raise AdapterError(
                f"{name}: {module} is {mine[0]}x{mine[1]}, the model's is "
                f"{theirs[0]}x{theirs[1]}; it was trained for another model"
            )
    # In every floating type zero is bytes of zero, and of minus zero one is the sign alone.
    if not any(bytes(tensors[up]["data"]).strip(b"\x00\x80") for _, up in pairs.values()):
        raise AdapterError(f"{name} changes nothing: every lora_B is zero; was it trained?")


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the model's modules with the shapes of their weights, from the files' headers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - the handle is no mapping
                if key.endswith(".weight"):
                    shape = tuple(tensors.get_slice(key).get_shape())
                    shapes[_module(key.removesuffix(".weight"))] = shape
    if not shapes:
        for path in folder.glob("*.safetensors.index.json"):
            names = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            shapes |= {
                _module(n.removesuffix(".weight")): () for n in names if n.endswith(".weight")
            }
    return shapes


def _module(name: str) -> str:
    """Drop what wrappers put before the text model's layers; a vision tower keeps its own name."""
    if "vision" in name or "layers." not in name:
        return name
    return name[name.index("layers.") :]
