"""A model with an adapter folded into its weights, for a job with one variant and no LoRA."""

import json
import logging
import shutil
from pathlib import Path

from pydantic import ValidationError

from medsent.config.loader import Settings
from medsent.engine.quantization import said_quantised
from medsent.errors import AdapterError, ModelError, UsageError
from medsent.models.adapter import ANSWER, LABELS, PROMPT, Adapter, fit_adapter
from medsent.models.delta import Delta, read_deltas
from medsent.models.lora import own_name
from medsent.models.source import CONTENT, PREPARED, WEIGHTS, content_sha256, resolve_model
from medsent.models.weights import listed

logger = logging.getLogger(__name__)

PROVENANCE = "medsent-merged.json"
"""Says which model and adapter a merged model is made of."""
_BESIDE = CONTENT - WEIGHTS
"""The suffixes of what a model's folder holds besides weights."""


class MergedModel(Settings):
    """The model that the adapter was folded into."""

    source: str
    sha256: str
    """Of its content, as in a run's provenance."""


class MergedAdapter(Settings):
    """The adapter."""

    source: str
    sha256: str
    """Of its weights: thresholds that were tuned for them hold for the merged model."""
    settings_sha256: str
    """Of its `adapter_config.json`."""


class Merged(Settings):
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


def merge(model: str, adapter: str, output: str) -> Path:
    """Fold an adapter into a model's weights, in float32, and write the model in its own type.

    Returns the new folder, which is whole or not there. One file of the weights is held in memory
    at a time, and one tensor of it with 4 bytes a parameter. Raises `UsageError` where the output
    is there already, `ModelError`, or `AdapterError` where the adapter does not fit the model.
    """
    target = _target(output)
    folder = resolve_model(model)
    if held := read_merged(folder):
        raise ModelError(f"--model: {model} has {held.adapter.source} in it; give the base model")
    if said_quantised(json.loads((folder / "config.json").read_text(encoding="utf-8"))) is not None:
        raise ModelError(f"--model: the weights of {model} are quantised; merge, then quantise")
    fitted = fit_adapter("--adapter", adapter, folder)
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # what a kill left
    try:
        work.mkdir(parents=True)
        _write(folder, fitted, work)
        _write_asked(fitted, work)
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
    _tell(target, fitted)
    return target


def _target(output: str) -> Path:
    if "://" in output:
        raise UsageError(f"--output: {output} is no folder of this machine; copy it there after")
    target = Path(output).expanduser().absolute()
    if target.exists():
        raise UsageError(f"--output: {target} is there already; name another, or remove it")
    return target


def _write(folder: Path, adapter: Adapter, work: Path) -> None:
    """Write the merged weights, and beside them what else the model's folder holds.

    File by file and tensor by tensor, so that the result has the checkpoint's own names, types
    and files: what loaded the one loads the other.
    """
    from safetensors import SafetensorError

    try:
        files = _weight_files(folder)
        deltas = _bind(adapter, files)
        for file in files:
            _write_merged(file, work / file.name, deltas)
    except SafetensorError as error:
        raise ModelError(f"--model: the weights in {folder} are damaged: {error}") from error
    for file in folder.iterdir():
        if file.suffix in _BESIDE and file.name != PREPARED:
            shutil.copy(file, work)
    for file in work.iterdir():
        file.chmod(0o644)  # the library writes weights for their owner only


def _write_asked(adapter: Adapter, work: Path) -> None:
    """Copy the adapter's prompt, answer and labels: a variant reads them in the model's folder."""
    for name in (PROMPT, ANSWER, LABELS):
        if (adapter.folder / name).is_file():
            shutil.copyfile(adapter.folder / name, work / name)


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that make up the checkpoint; a folder may hold it in a second form too."""
    if places := listed(folder, "model"):
        files = [folder / name for name in sorted(set(places.values()))]
        if lost := next((file.name for file in files if not file.is_file()), None):
            raise ModelError(f"--model: {folder} has no {lost}, which its index names")
        return files
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    raise ModelError(f"--model: {folder} has no model.safetensors, which is what is merged")


def _bind(adapter: Adapter, files: list[Path]) -> dict[str, Delta]:
    """Return what is added to which tensor, by the tensor's name in the checkpoint."""
    from safetensors import safe_open

    names = []
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            names += [name for name in tensors.keys() if name.endswith(".weight")]  # noqa: SIM118
    modules: dict[str, list[str]] = {}
    for name in names:
        modules.setdefault(own_name(name.removesuffix(".weight")), []).append(name)
    bound = {}
    for module, delta in read_deltas(adapter).items():
        found = modules.get(module, [])
        if len(found) != 1:
            what = "no weight" if not found else f"{len(found)} weights"
            raise AdapterError(
                f"--adapter: {adapter.source} targets {module}, and the model has {what} "
                "of that name"
            )
        bound[found[0]] = delta
    return bound


def _write_merged(file: Path, target: Path, deltas: dict[str, Delta]) -> None:
    """Write one file of weights with what the adapter adds to them."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as source:
        tensors = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118
        metadata = source.metadata()
    for name in deltas.keys() & tensors.keys():
        tensors[name] = deltas[name].added_to(tensors[name])
    save_file(tensors, target, metadata)


def _tell(target: Path, adapter: Adapter) -> None:
    tuned = (adapter.folder / "thresholds.json").is_file()
    thresholds = f", thresholds: {adapter.source}/thresholds.json" if tuned else ""
    logger.info("In the job's YAML, with the adapter's own method, and without `adapter`:")
    logger.info(f"  model: {{source: {target}}}")
    logger.info(f"  variants: {{merged: {{method: onepass{thresholds}}}}}")
