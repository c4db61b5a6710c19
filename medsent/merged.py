"""A model with an adapter folded into its weights, for a job with one variant and no LoRA."""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from medsent.adapter import WEIGHTS, Adapter, fit_adapter
from medsent.errors import AdapterError, ModelError, UsageError
from medsent.model import CONTENT, PREPARED, Say, content_sha256, resolve_model

PROVENANCE = "medsent-merged.json"
"""Says which model and adapter a merged model is made of."""
_BESIDE = CONTENT - {".safetensors"}
"""The suffixes of what a model's folder holds besides weights."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class MergedModel(_Strict):
    """The model that the adapter was folded into."""

    source: str
    sha256: str
    """Of its content, as in a run's provenance."""


class MergedAdapter(_Strict):
    """The adapter."""

    source: str
    sha256: str
    """Of its weights: thresholds that were tuned for them hold for the merged model."""
    settings_sha256: str
    """Of its `adapter_config.json`."""


class Merged(_Strict):
    """What a merged model is made of; `medsent-merged.json` in its folder."""

    model: MergedModel
    adapter: MergedAdapter


def read_merged(folder: Path) -> Merged | None:
    """Return what a model's folder was merged of; None for one that was not.

    Raises `ModelError` where that cannot be read.
    """
    file = folder / PROVENANCE
    try:
        return Merged.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ModelError(f"{file} is damaged; merge model and adapter again") from error


def merge(model: str, adapter: str, output: str, say: Say = print) -> Path:
    """Fold an adapter into a model's weights, in float32, and write the model in its own type.

    Returns the new folder, which is whole or not there. The whole model is held in memory, with
    4 bytes a parameter. Raises `UsageError` where the output is there already, `ModelError`, or
    `AdapterError` where the adapter does not fit the model.
    """
    target = _target(output)
    folder = resolve_model(model, say)
    if held := read_merged(folder):
        raise ModelError(f"--model: {model} has {held.adapter.source} in it; give the base model")
    if "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise ModelError(f"--model: the weights of {model} are quantised; merge, then quantise")
    fitted = fit_adapter("--adapter", adapter, folder)
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # what a kill left
    try:
        work.mkdir(parents=True)
        _write(folder, fitted, work)
        made_of = Merged(
            model=MergedModel(source=model, sha256=content_sha256(folder)),
            adapter=MergedAdapter(
                source=fitted.source, sha256=fitted.sha256, settings_sha256=fitted.settings_sha256
            ),
        )
        (work / PROVENANCE).write_text(made_of.model_dump_json(indent=1) + "\n", encoding="utf-8")
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _tell(target, fitted, say)
    return target


def _target(output: str) -> Path:
    if "://" in output:
        raise UsageError(f"--output: {output} is no folder of this machine; copy it there after")
    target = Path(output).expanduser().absolute()
    if target.exists():
        raise UsageError(f"--output: {target} is there already; name another, or remove it")
    return target


def _write(folder: Path, adapter: Adapter, work: Path) -> None:
    """Write the merged weights, and beside them what else the model's folder holds."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        base: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto")
    except (OSError, ValueError) as error:
        raise ModelError(f"--model: cannot load {folder}: {error}") from error
    dtype = base.dtype
    try:
        # Sums of 16 bits would round twice.
        tuned = PeftModel.from_pretrained(base.to(torch.float32), str(adapter.folder))
        _refuse_partly_loaded(tuned, adapter)
        whole = tuned.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError) as error:
        raise AdapterError(f"--adapter: {adapter.source} cannot be merged: {error}") from error
    whole.to(dtype).save_pretrained(str(work))
    for file in folder.iterdir():
        known = (work / file.name).exists() or file.name == PREPARED
        if file.suffix in _BESIDE and not known and ".index" not in file.suffixes:
            shutil.copy(file, work)
    for file in work.iterdir():
        file.chmod(0o644)  # the library writes weights for their owner only


def _refuse_partly_loaded(tuned: Any, adapter: Adapter) -> None:
    """Refuse an adapter whose tensors the library passed over: it only warns."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    held = get_peft_model_state_dict(tuned, save_embedding_layers=False)  # else the hub is asked
    for name, tensor in load_file(adapter.folder / WEIGHTS).items():
        if name not in held or not held[name].equal(tensor.to(held[name].dtype)):
            raise AdapterError(
                f"--adapter: {adapter.source}: the model does not take {name}; "
                "it was trained under another library's names"
            )


def _tell(target: Path, adapter: Adapter, say: Say) -> None:
    tuned = (adapter.folder / "thresholds.json").is_file()
    thresholds = f", thresholds: {adapter.source}/thresholds.json" if tuned else ""
    say("In the job's YAML, with the adapter's own method, and without `adapter`:")
    say(f"  model: {{source: {target}}}")
    say(f"  variants: {{merged: {{method: onepass{thresholds}}}}}")
