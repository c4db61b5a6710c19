"""Whether vLLM serves a job's adapters, told before an engine starts."""

from medsent.adapter import Adapter
from medsent.config import ScriptedSettings, VllmSettings
from medsent.engine.lora_rules import judged
from medsent.errors import AdapterError, ConfigError
from medsent.model import Say


def refuse_unserved(
    settings: VllmSettings | ScriptedSettings, adapters: dict[str, Adapter], say: Say
) -> None:
    """Check adapters, by variant, against vLLM's rules, if it is the engine.

    Raises `AdapterError` for one that it cannot serve, and `ConfigError` for a highest rank that
    it does not take.
    """
    if not isinstance(settings, VllmSettings) or not adapters:
        return
    judgements = judged([adapter.settings_text() for adapter in adapters.values()])
    if judgements is None:
        say("vLLM cannot be asked about adapters here: whether it serves them shows at its start.")
    for name, judgement in zip(adapters, judgements or [], strict=False):
        if judgement.refused:
            raise AdapterError(
                f"variants.{name}.adapter: {adapters[name].source} cannot be served: "
                f"{judgement.refused.rstrip('.')}; train a plain LoRA, or convert it to one"
            )
    _check_ranks(settings, adapters, judgements[0].ranks if judgements else [])


def _check_ranks(settings: VllmSettings, adapters: dict[str, Adapter], taken: list[int]) -> None:
    """Check the highest rank, by the values that vLLM takes: none of them where unknown."""
    own = settings.options.get("max_lora_rank")
    most = own or settings.max_lora_rank
    setting = f"engine.{'options.' if own else ''}max_lora_rank"
    if taken and most not in taken:
        raise ConfigError(
            f"{setting}: vLLM takes {', '.join(map(str, taken))}, and not {most}"
            f"{_next(taken, most)}"
        )
    for name, adapter in adapters.items():
        if adapter.rank > most:
            raise AdapterError(
                f"variants.{name}.adapter has rank {adapter.rank}, above {setting} {most}"
                f"{_next(taken, adapter.rank) or '; raise that setting'}"
            )


def _next(taken: list[int], rank: int) -> str:
    """Tell the value that fits a rank, where there is one."""
    fitting = next((value for value in taken if value >= rank), None)
    if fitting is None:
        return f"; vLLM serves a rank of {taken[-1]} at most" if taken else ""
    return f"; set it to {fitting}"
