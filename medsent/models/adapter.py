"""A LoRA adapter's folder: does it fit the model, and does it change anything?"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsent.errors import AdapterError, StorageError
from medsent.models.hashes import sha256_file
from medsent.models.hub import adapter_snapshot
from medsent.models.lora import Binding, bind, plain_name, read_pairs
from medsent.models.modules import read_modules
from medsent.models.source import is_on_hub, is_pointer
from medsent.storage.cache import cache_dir, fetched

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PROMPT, ANSWER, LABELS, CARD = "prompt.yaml", "answer.yaml", "labels.yaml", "README.md"
"""Files that training leaves beside an adapter: its prompt, answer form, labels and card."""
_FORMATS = {"*.gguf": "in GGUF, for llama.cpp", "adapters.*": "of MLX"}
"""Pattern of another program's files to their kind of adapter, for a folder without peft's."""
_SHARDS = "adapter_model*-of-*.safetensors"
_ON_ITS_OWN_BASE = ("corda", "loftq", "lora_ga", "mica", "olora", "orthogonal", "pissa")
"""Ways to begin training that change the base model's weights too."""


@dataclass(frozen=True)
class Adapter:
    """An adapter that was checked against a model."""

    source: str
    """A folder, `s3://` and `gs://` to one, or a hub id."""
    folder: Path
    """On the machine that checked it: the source itself, or a copy of its objects."""
    sha256: str
    """Of the weights."""
    settings_sha256: str
    """Of `adapter_config.json`: its alpha scales what the weights do."""
    binding: Binding
    revision: str | None = None
    """The commit of a hub's adapter; None for others."""

    @property
    def rank(self) -> int:
        """The highest of its modules."""
        return self.binding.rank

    def on_this_node(self) -> Path:
        """Return its folder on the machine that calls, fetched there if need be.

        If vLLM and peft do not know the names of its tensors, it is a copy with names that they
        know. Raises `AdapterError` where the adapter is gone or has changed since it was checked.
        """
        folder = _folder(self.source, self.source, self.revision)
        try:
            now = sha256_file(folder / WEIGHTS), sha256_file(folder / CONFIG)
        except OSError as error:
            raise AdapterError(f"{self.source} is not on every node: {error.strerror}") from error
        if now != (self.sha256, self.settings_sha256):
            raise AdapterError(
                f"{self.source} was rewritten since the job began; give the new one another name"
            )
        return folder if self.binding.unnamed else self._renamed(folder)

    def _renamed(self, folder: Path) -> Path:
        """Return a copy of this machine whose tensors have the names that vLLM knows."""
        copy = cache_dir() / "renamed" / f"{self.sha256[:16]}-{self.settings_sha256[:16]}"
        if copy.is_dir():
            return copy
        from safetensors.torch import load_file, save_file

        copy.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{copy.name}-", dir=copy.parent))
        try:
            tensors = load_file(folder / WEIGHTS)
            save_file({plain_name(key): tensor for key, tensor in tensors.items()}, work / WEIGHTS)
            shutil.copy(folder / CONFIG, work)
            work.rename(copy)
        except OSError:  # where another process was first its copy is as good
            if not copy.is_dir():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return copy

    def settings_text(self) -> str:
        """Return what `adapter_config.json` holds."""
        return (self.folder / CONFIG).read_text(encoding="utf-8")


def open_adapter(
    variant: str, path: str, model_folder: Path, revision: str | None = None
) -> Adapter:
    """Check a variant's adapter as `fit_adapter` does; errors name the variant."""
    return fit_adapter(f"variants.{variant}.adapter", path, model_folder, revision)


def fit_adapter(
    setting: str, path: str, model_folder: Path, revision: str | None = None
) -> Adapter:
    """Check an adapter without an engine: its files, and that every tensor binds to a module.

    `revision` is of a hub's adapter: a commit, branch or tag; None for the newest.

    Raises `AdapterError` that names the setting it comes from and the adapter, or `ModelError`
    where the model's modules cannot be read.
    """
    of_hub = is_on_hub(path)
    if revision is not None and not of_hub:
        raise AdapterError(
            f"{setting.removesuffix('adapter')}revision is for an adapter of the hub, and {path} "
            "is none"
        )
    source = path if of_hub or "://" in path else str(Path(path).expanduser().resolve())
    name = f"{setting}: {source}"
    folder = adapter_snapshot(setting, path, revision) if of_hub else _folder(source, name)
    _refuse_other_kinds(name, folder)
    config = _settings(name, folder)
    _refuse_own_base(name, config)
    pairs = read_pairs(name, _weights(name, folder))
    binding = bind(name, pairs, config, read_modules(model_folder))
    hashes = sha256_file(folder / WEIGHTS), sha256_file(folder / CONFIG)
    return Adapter(source, folder, *hashes, binding, folder.name if of_hub else None)


def _folder(source: str, name: str, revision: str | None = None) -> Path:
    if revision is not None:
        return adapter_snapshot(name, source, revision)
    try:
        return fetched(source)
    except FileNotFoundError as error:
        raise AdapterError(f"{name}: {error.strerror}; give the folder of a LoRA") from error
    except OSError as error:
        raise StorageError(f"{name} cannot be fetched: {error.strerror}") from error


def _refuse_other_kinds(name: str, folder: Path) -> None:
    """Say what was given where it is no folder with an adapter's configuration."""
    if folder.is_file():
        raise AdapterError(f"{name} is a file; give the folder that holds it and {CONFIG}")
    if (folder / CONFIG).exists():
        return
    if not folder.exists():
        raise AdapterError(f"{name}: there is no such folder; give the folder of a LoRA")
    _refuse_formats(name, folder)
    told = "give the folder of a LoRA"
    if held := sorted(folder.glob(f"*/{CONFIG}")):
        told = f"there is one in {held[-1].parent.name} below it"
    elif (folder / "config.json").exists():
        told = "it looks like a whole model, which model.source names"
    raise AdapterError(f"{name} has no readable {CONFIG}; {told}")


def _refuse_formats(name: str, folder: Path) -> None:
    """Say of which other program the files are, where peft did not write them."""
    for pattern, what in _FORMATS.items():
        if found := sorted(folder.glob(pattern)):
            raise AdapterError(
                f"{name} is an adapter {what} ({found[0].name}); give the folder that peft wrote "
                f"({CONFIG} and {WEIGHTS}), or convert it to that"
            )


def _settings(name: str, folder: Path) -> dict[str, Any]:
    """Read the configuration of a LoRA, with its rank."""
    _refuse_pointer(name, folder / CONFIG)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(f"{name} has no readable {CONFIG}; give the folder of a LoRA") from error
    except (ValueError, RecursionError) as error:
        # A byte order mark too: vLLM and peft do not read past it.
        raise AdapterError(
            f"{name} has no readable {CONFIG}: it is not valid JSON in UTF-8 ({error}); write it "
            "anew, without a byte order mark"
        ) from error
    if not isinstance(config, dict):
        raise AdapterError(f"{name}: {CONFIG} holds no settings but a {type(config).__name__}")
    if "peft_type" not in config and {"fine_tune_type", "lora_parameters"} & config.keys():
        raise AdapterError(f"{name} is an adapter of MLX; convert it to peft's names and layout")
    kind = config.get("peft_type") or "LORA"
    if str(kind).upper() != "LORA":
        raise AdapterError(f"{name} is of peft_type {kind}, not LORA; train a plain LoRA")
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool):
        told = f"is {rank!r}, no whole number" if "r" in config else "is missing"
        raise AdapterError(f"{name}: the rank (r) in {CONFIG} {told}")
    return config


def _refuse_own_base(name: str, config: dict[str, Any]) -> None:
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_ON_ITS_OWN_BASE):
        raise AdapterError(
            f"{name} was begun by {begun} (init_lora_weights), on base weights of its own; have "
            "peft convert it to a plain LoRA (save_pretrained with "
            "path_initial_model_for_weight_conversion)"
        )


def _weights(name: str, folder: Path) -> bytes:
    """Read the file of tensors."""
    if not (folder / WEIGHTS).exists() and (shards := sorted(folder.glob(_SHARDS))):
        raise AdapterError(
            f"{name} is sharded: it has no whole {WEIGHTS} but {shards[0].name}; write its tensors "
            f"into one {WEIGHTS}"
        )
    if not (folder / WEIGHTS).exists() and (
        others := [file.name for kind in ("*.bin", "*.pt") for file in sorted(folder.glob(kind))]
    ):
        raise AdapterError(
            f"{name} has no whole {WEIGHTS} but {others[0]}; load it with peft and write it with "
            "save_pretrained"
        )
    if not (folder / WEIGHTS).exists():
        _refuse_formats(name, folder)
    try:
        _refuse_pointer(name, folder / WEIGHTS)
        return (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise AdapterError(f"{name} has no whole {WEIGHTS} ({error.strerror})") from error


def _refuse_pointer(name: str, file: Path) -> None:
    if is_pointer(file):
        raise AdapterError(
            f"{name}: {file.name} is not the file itself but a git-lfs pointer to it; run git lfs "
            "pull there"
        )
