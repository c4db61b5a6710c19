"""Whether vLLM serves a job's adapters, told before an engine starts."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from medsent.config.engine import ScriptedSettings, VllmSettings
from medsent.engine.lora_rules import judged
from medsent.engine.text_model import read_config, text_class
from medsent.errors import AdapterError, ConfigError
from medsent.models.adapter import Adapter
from medsent.models.modules import BARE_NAMES, TEXT_NAMES

logger = logging.getLogger(__name__)

_PROJECTIONS = {f"self_attn.{name}_proj" for name in "qkvo"} | {
    f"mlp.{name}_proj" for name in ("gate", "up", "down")
}
"""What transformers and vLLM call alike."""


def kernel_targets(adapters: Iterable[Adapter]) -> tuple[str, ...]:
    """Return the names of the modules that need LoRA kernels, such as `q_proj`; empty means all.

    It is empty where there are unusual names (experts), which vLLM may not know: it would
    silently leave out the adapter of a module that it does not find by name.
    """
    targets = {target for adapter in adapters for target in adapter.binding.targets}
    usual = targets <= _PROJECTIONS
    return tuple(sorted(target.rpartition(".")[2] for target in targets)) if usual else ()


def refuse_unserved(
    settings: VllmSettings | ScriptedSettings, adapters: dict[str, Adapter], model: Path
) -> None:
    """Check adapters, by variant, against vLLM's rules, if it is the engine.

    Raises `AdapterError` for one that it cannot serve, and `ConfigError` for a highest rank that
    it does not take.
    """
    if not isinstance(settings, VllmSettings) or not adapters:
        return
    _check_names(settings, adapters, model)
    judgements = judged([adapter.settings_text() for adapter in adapters.values()])
    if judgements is None:
        logger.info(
            "vLLM cannot be asked about adapters here: whether it serves them shows at its start."
        )
    for name, judgement in zip(adapters, judgements or [], strict=False):
        if judgement.refused:
            raise AdapterError(
                f"variants.{name}.adapter: {adapters[name].source} cannot be served: "
                f"{judgement.refused.rstrip('.')}; correct its adapter_config.json, or train a "
                "plain LoRA"
            )
    _check_ranks(settings, adapters, judgements[0].ranks if judgements else [])


def _check_names(settings: VllmSettings, adapters: dict[str, Adapter], model: Path) -> None:
    """Check that vLLM binds the adapters' tensors: those it does not bind it passes over."""
    config = read_config(model)
    if text_class(config, settings.options):
        return
    wrapped = "text_config" in config
    for name, adapter in adapters.items():
        of_text = [naming in (TEXT_NAMES, BARE_NAMES) for naming in adapter.binding.namings]
        if wrapped in of_text:
            raise AdapterError(
                f"variants.{name}.adapter: {adapter.source} was trained on "
                f"{adapter.binding.trained_on}; vLLM does not bind that to "
                f"{'the multimodal' if wrapped else 'the text'} model that it serves here; load "
                "it with peft on that model and write it with save_pretrained"
            )


def _check_ranks(settings: VllmSettings, adapters: dict[str, Adapter], taken: list[int]) -> None:
    """Check the ranks. `taken` are the highest ranks that vLLM can be set to, empty if unknown."""
    own = settings.options.get("max_lora_rank")
    most = own or settings.max_lora_rank
    setting = f"engine.{'options.' if own else ''}max_lora_rank"
    if taken and most not in taken:
        raise ConfigError(
            f"{setting}: vLLM takes {', '.join(map(str, taken))}, and not {most}"
            f"{_next(taken, most)}"
        )
    for name, adapter in adapters.items():
        rank = _configured_rank(adapter)
        if rank > most:
            where = "" if rank == adapter.rank else " in its adapter_config.json"
            raise AdapterError(
                f"variants.{name}.adapter has rank {rank}{where}, above {setting} {most}"
                f"{_next(taken, rank) or '; raise that setting'}"
            )


def _configured_rank(adapter: Adapter) -> int:
    """Return the highest rank in an adapter's settings: vLLM goes by it, used or not."""
    config = json.loads(adapter.settings_text())
    told = [config["r"], *(config.get("rank_pattern") or {}).values()]
    return max(adapter.rank, *(rank for rank in told if isinstance(rank, int)))


def _next(taken: list[int], rank: int) -> str:
    """Tell the value that fits a rank, where there is one."""
    fitting = next((value for value in taken if value >= rank), None)
    if fitting is None:
        return f"; vLLM serves a rank of {taken[-1]} at most" if taken else ""
    return f"; set it to {fitting}"
