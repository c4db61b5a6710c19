"""Quantised weights: what a checkpoint holds, and whether vLLM can serve it."""

import copy
import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.engine import cpu, text_model
from medsent.engine.library_errors import first_line
from medsent.errors import ConfigError, MedsentError, ModelError

_PLACES: Final = ("quantization_config", "compression_config")
"""Where a checkpoint's `config.json`, or its `text_config`, says how its weights are held."""
_EXPERTS_ALONE: Final = ("experts_int8", "int8_per_channel_weight_only", "nvfp4_per_token")
"""Methods that leave all else as it is, so that they do nothing to a model without experts."""
_ELSEWHERE: Final = {
    "bitsandbytes": "it is in the package vllm-bnb-plugin, which requirements/gpu.txt installs"
}
"""Methods that vLLM had or that others have, and where they are now."""
_DEPRECATED: Final = {"fp8": "fp8_per_tensor"}
"""Names under which vLLM still quantises as it loads, but not for long; and the new ones."""
_SAYINGS: Final = (ValueError, NotImplementedError, ImportError)
"""The kinds of error by which vLLM refuses."""
_INSTEAD: Final = (
    "quantise the checkpoint (jobs/quantise.py) and leave the setting out, or take fp8_per_channel"
)


@dataclass(frozen=True)
class Quantization:
    """How the weights of a model are held in fewer bits."""

    method: str
    """vLLM's name of it."""
    stored: bool
    """Whether the checkpoint holds them so; else vLLM quantises them as it loads them."""
    note: str = ""
    """What else is to be told."""

    def __str__(self) -> str:
        how = "stored in the checkpoint" if self.stored else "made as the weights are loaded"
        return f"{self.method}, {how}{self.note and '; '}{self.note}"


def is_quantised(config: Mapping[str, Any], model: ModelSettings) -> bool:
    """Tell whether an engine's weights are quantised, by `config.json` or by the setting."""
    return model.quantization is not None or said_quantised(config) is not None


def said_quantised(config: Mapping[str, Any]) -> Any:
    """Return what a `config.json` says of quantised weights, wherever; None where nothing."""
    text = config.get("text_config")
    groups = (config, text if isinstance(text, Mapping) else {})
    said = (group.get(place) for group in groups for place in _PLACES)
    return next((found for found in said if found is not None), None)


def _stored(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a `config.json` says of how its weights are quantised; None where they are not.

    Raises `ModelError` where that names no method.
    """
    said = said_quantised(config)
    if said is None:
        return None
    # NVIDIA's older ones have their own words instead.
    named = isinstance(said, dict) and {"producer", "quantization"} & set(said)
    if not named and not (isinstance(said, dict) and isinstance(said.get("quant_method"), str)):
        raise ModelError(
            "model.source: quantization_config in config.json names no quant_method; "
            "the checkpoint is not whole"
        )
    return dict(said)


def check_quantization(
    model: ModelSettings,
    settings: VllmSettings,
    folder: Path,
    *,
    on_cpu: bool,
    adapters: bool = False,
) -> Quantization | None:
    """Ask vLLM whether it serves a model's weights as they are held, or as the job asks for.

    None where they are not quantised; then nothing is imported. Else vLLM is, which takes
    about ten seconds. `on_cpu` says that the engine will run on this machine's CPU, `adapters`
    that it will have some. Raises `ConfigError` for a setting that does not fit, `ModelError`
    for a checkpoint.
    """
    config = text_model.read_config(folder)
    given = _given(model, settings)
    held = _stored(config)
    if given is None and held is None:
        return None
    name = given or str((held or {}).get("quant_method", "modelopt"))
    if model.dtype == "float32":
        raise ConfigError(
            f"model.dtype: quantised weights ({name}) are multiplied in 16 bits; set bfloat16"
        )
    _refuse_idle(given, config)
    if find_spec("vllm") is None:
        return Quantization(name, held is not None, "vLLM is not installed here to confirm it")
    try:
        method = _judged(given, held, _Question(config, folder, model, settings))
    except MedsentError:
        raise
    except Exception as error:  # noqa: BLE001 - ours or vLLM's fault, and not the model's
        note = f"vLLM could not be asked about it here: {type(error).__name__}"
        return Quantization(name, held is not None, note)
    lacking = cpu.missing_kernel(method, held, adapters=adapters) if on_cpu else None
    if lacking is not None and held is None:
        raise ConfigError(f"model.quantization: {lacking}; leave the setting out")
    if lacking is not None:
        raise ModelError(f"model.source: {lacking}; take a checkpoint of 16 bits, or a GPU")
    return Quantization(method, held is not None, _note(given, held, on_cpu=on_cpu))


def _given(model: ModelSettings, settings: VllmSettings) -> str | None:
    """Return the method that a job asks for; vLLM takes it in any case of letters."""
    given = settings.options.get("quantization", model.quantization)
    return str(given).lower() if given else None


def _refuse_idle(given: str | None, config: Mapping[str, Any]) -> None:
    text = config.get("text_config")
    keys = {*config, *(text if isinstance(text, Mapping) else ())}
    if given in _EXPERTS_ALONE and not any("expert" in key for key in keys):
        raise ConfigError(
            f"model.quantization: {given} quantises experts alone, and the model has none; "
            f"{_INSTEAD}"
        )


@dataclass(frozen=True)
class _Question:
    """A model as vLLM is asked about it."""

    config: Mapping[str, Any]
    folder: Path
    model: ModelSettings
    settings: VllmSettings

    def ask(self, given: str | None) -> str:
        """Return the method by which vLLM would serve the model.

        Raises what vLLM raises where it would not: most often, but not always, a `ValueError`.
        """
        from vllm.config import LoadConfig, ModelConfig, VllmConfig

        stand_in: Any = self._stand_in(given)
        # There is no public way to ask before the whole model is looked at.
        ModelConfig._verify_quantization(stand_in)
        VllmConfig.get_quantization_config(stand_in, LoadConfig())
        return str(stand_in.quantization)

    def _stand_in(self, given: str | None) -> SimpleNamespace:
        """Return a stand-in with what vLLM's `ModelConfig` reads to judge a quantisation."""
        import torch
        from vllm.config.quantization import resolve_quantization_config
        from vllm.transformers_utils.model_arch_config_convertor import (
            ModelArchConfigConvertorBase,
        )

        hf_config: Any = _attributes(copy.deepcopy(dict(self.config)))
        text = getattr(hf_config, "text_config", hf_config)
        options = self.settings.options
        held = ModelArchConfigConvertorBase(hf_config, text).get_quantization_config()
        heads = getattr(text, "num_attention_heads", 1)
        return SimpleNamespace(
            quantization=given,
            quantization_config=resolve_quantization_config(
                given, options.get("quantization_config")
            ),
            allow_deprecated_quantization=options.get("allow_deprecated_quantization", False),
            hf_config=hf_config,
            hf_overrides={},
            model=str(self.folder),
            revision=None,
            dtype=getattr(torch, _computed(self.model.dtype, self.config)),
            model_arch_config=SimpleNamespace(
                quantization_config=held,
                total_num_attention_heads=heads,
                total_num_kv_heads=getattr(text, "num_key_value_heads", heads),
            ),
        )


def _attributes(config: dict[str, Any]) -> SimpleNamespace:
    text = config.get("text_config")
    if isinstance(text, dict):
        config["text_config"] = SimpleNamespace(**text)
    return SimpleNamespace(**config)


def _computed(dtype: str, config: Mapping[str, Any]) -> str:
    """Return the type in which vLLM would compute."""
    if dtype != "auto":
        return dtype
    own = config.get("dtype") or config.get("torch_dtype")
    return own if own in ("bfloat16", "float16") else "bfloat16"


def _judged(given: str | None, held: dict[str, Any] | None, question: _Question) -> str:
    for library in ("torch._library.triton", "vllm"):
        logging.getLogger(library).setLevel(logging.ERROR)
    from vllm.model_executor.layers import quantization
    from vllm.plugins import load_general_plugins

    load_general_plugins()  # methods of other packages register there
    if given is not None and given not in quantization.QUANTIZATION_METHODS:
        raise ConfigError(_unknown(given, quantization.QUANTIZATION_METHODS))
    try:
        return question.ask(given)
    except Exception as error:
        # A checkpoint is refused only by vLLM's kinds of refusal, a setting by any error.
        if held is not None and not isinstance(error, _SAYINGS):
            raise
        raise _refusal(given, held, question, error) from error


def _unknown(given: str, known: list[str]) -> str:
    told = f"model.quantization: vLLM {_version()} has no {given!r}"
    if given in _ELSEWHERE:
        return f"{told}: {_ELSEWHERE[given]}; nearest here: {_INSTEAD}"
    nearest = difflib.get_close_matches(given, known, n=1)
    if nearest:
        return f"{told}; did you mean {nearest[0]}?"
    return f"{told}; {_INSTEAD}; it has {', '.join(sorted(known))}"


def _refusal(
    given: str | None, held: dict[str, Any] | None, question: _Question, error: Exception
) -> Exception:
    """Return what to tell of vLLM's refusal."""
    words = _words(error)
    if held is None:
        if "deprecated" in words:
            return ConfigError(
                f"model.quantization: vLLM {_version()} gives {given} up; {_INSTEAD}"
            )
        if given == "online":
            return ConfigError(f"engine.options.quantization_config: online needs it ({words})")
        return ConfigError(
            f"model.quantization: {given} needs a checkpoint whose weights are stored in that "
            f"form, and the model's are not; {_INSTEAD}"
        )
    method = held.get("quant_method", "modelopt")
    if given is not None and _fits(question):
        return ConfigError(
            f"model.quantization: the checkpoint's weights are {method} already, not {given}; "
            "leave the setting out"
        )
    where = _ELSEWHERE.get(str(method).lower())
    return ModelError(
        f"model.source: vLLM {_version()} cannot serve weights held as {method} "
        f"({where or words}); take another checkpoint of the model"
    )


def _fits(question: _Question) -> bool:
    try:
        question.ask(None)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _words(error: Exception) -> str:
    """Return the first line of a library's words; vLLM leaves some without their arguments in."""
    if len(error.args) > 1 and isinstance(error.args[0], str) and "%s" in error.args[0]:
        return str(error.args[0] % error.args[1:])
    return first_line(error)


def _note(given: str | None, held: dict[str, Any] | None, *, on_cpu: bool) -> str:
    notes = []
    if held is None and given in _DEPRECATED:
        notes.append(f"the name is deprecated, take {_DEPRECATED[given]}")
    if on_cpu and not cpu.is_fast_in_16_bits():
        notes.append("slow: this CPU has no instructions for 16 bits, in which it is computed")
    return "; ".join(notes)


def _version() -> str:
    import vllm

    return str(vllm.__version__)
