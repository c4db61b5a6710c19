"""Models and adapters of the Hugging Face hub: one commit, whole, in the hub's own cache."""

import json
import logging
from pathlib import Path
from typing import Final

from medsent.errors import AdapterError, ModelError

logger = logging.getLogger(__name__)

_WEIGHTS: Final = "*.safetensors"
_WANTED: Final = ["*.json", "*.jinja", "*.model", "*.txt", "*.yaml"]
_LEFT_OUT: Final = ["*/*"]
"""Folders: other formats of the same weights, and pictures. The model's own files lie beside."""
_INDEX: Final = "model.safetensors.index.json"
_OF_ADAPTER: Final = ["adapter_config.json", "adapter_model*.safetensors", "*.yaml", "README.md"]
"""An adapter, and what training leaves beside it."""


def snapshot(
    source: str,
    revision: str | None = None,
    *,
    weights: bool = True,
) -> Path:
    """Return the folder of a model's revision, fetched if need be; its name is the commit.

    Without a revision it is the newest. For a commit that is in the cache the network is not used.
    Without `weights` the weights are not fetched, and may be missing. Raises `ModelError` that says
    why the model cannot be fetched.
    """
    wanted = [*_WANTED, _WEIGHTS] if weights else _WANTED
    try:
        if not _is_begun(source, revision, weights):
            logger.info(f"Fetching {source} from the hub ...")
        folder = _download(source, revision, wanted)
    except Exception as error:  # the library raises many kinds; each means "not to be had"
        raise ModelError(_refusal("model.source", "model.revision", source, revision, error)) from (
            error
        )
    return _whole(folder, source, weights)


def adapter_snapshot(setting: str, source: str, revision: str | None = None) -> Path:
    """Return the folder of an adapter's revision, as `snapshot` does; its name is the commit.

    Raises `AdapterError` that says why it cannot be had, and names the setting.
    """
    try:
        return _download(source, revision, _OF_ADAPTER)
    except Exception as error:  # as above
        named = setting.removesuffix("adapter") + "revision"
        raise AdapterError(
            f"{_refusal(setting, named, source, revision, error)} (here is no folder {source})"
        ) from error


def _download(source: str, revision: str | None, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            source, revision=revision, allow_patterns=wanted, ignore_patterns=_LEFT_OUT
        )
    )


def _is_begun(source: str, revision: str | None, weights: bool) -> bool:
    """Tell whether some of a model is here; with `weights`, some of those."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(config, str):
        return False
    return not weights or any(Path(config).parent.glob(_WEIGHTS))


def _whole(folder: Path, source: str, weights: bool) -> Path:
    """Refuse an incomplete download; without the network the cache may hold only a part."""
    index = folder / _INDEX
    names = {"config.json"}
    if weights and index.is_file():
        names |= _listed(index, source)
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise ModelError(
            f"model.source: of {source!r} at {folder.name[:12]} there is no {missing[0]}; is it a "
            "model of transformers, with safetensors? Where its download was cut short, run again "
            "with the network"
        )
    return folder


def _listed(index: Path, source: str) -> set[str]:
    """Return the files of weights that an index names."""
    try:
        return {
            str(n) for n in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"model.source: {index} of {source!r} is damaged; remove that file and what it links "
            "to from the cache, and run again with the network"
        ) from error


def _refusal(
    setting: str, of_revision: str, source: str, revision: str | None, error: Exception
) -> str:
    """Return why something cannot be fetched, in our words: the library's may hold addresses.

    `setting` is the setting that names it, `of_revision` the one that names its revision.
    """
    from huggingface_hub import errors

    name = f"{setting}: cannot get {source!r} from the hub"
    if isinstance(error, errors.HFValidationError):
        return f"{name}: that is no hub id; write owner/name, or give a folder"
    if isinstance(error, errors.GatedRepoError):
        return f"{name}: it is gated; accept its terms there and set HF_TOKEN to that account's"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{of_revision}: {source!r} has no revision {revision!r} on the hub"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{name}: there is none of that name, or it is private and HF_TOKEN may not read it"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        wanted = f"revision {revision!r}" if revision else "any of it"
        return (
            f"{name} ({_reason(error)}), and {wanted} is not whole in this machine's cache; check "
            "the network, HF_HUB_OFFLINE and HF_TOKEN, or give a folder"
        )
    return f"{name} ({_reason(error)}); check the name, the network and HF_TOKEN, or give a folder"


def _reason(error: Exception) -> str:
    """Return the status code of an error's first cause; its type where it has no code."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"status {status}" if status else type(error).__name__
