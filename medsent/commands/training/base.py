"""The base model under an adapter: loaded frozen and fitted with LoRA."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging

from medsent.commands.training.config import TrainingConfig, TrainingModel
from medsent.engine import cpu
from medsent.errors import AdapterError, ConfigError, ModelError
from medsent.models.lora import own_name
from medsent.models.modules import NAMINGS, text_layer

_PREFIX = "base_model.model."
"""What peft puts before the model's own names."""


def build_model(config: TrainingConfig, base: Path) -> Any:
    """Load the base model, frozen, with a trainable adapter in float32.

    Raises `ModelError`, or `AdapterError` for an adapter to start from, or `ConfigError`
    where `lora.targets` match nothing.
    """
    logging.disable_progress_bar()
    frozen = _frozen(config.model, base)
    drop_senses(frozen)
    model = attach_adapter(frozen, config)
    if config.start_from:
        load_weights(model, Path(config.start_from))
    cast_adapter(model, torch.float32)
    return model


def refuse_unquantisable(settings: TrainingModel) -> None:
    """Raise `ConfigError` where what quantises is not installed."""
    if settings.quantization and find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"model.quantization: {settings.quantization} needs bitsandbytes: "
            "pip install 'medsent[train]'"
        )


def refuse_quantised(settings: TrainingModel, base: Path) -> None:
    """Raise `ModelError` where `model.quantization` is for weights that are quantised already."""
    try:
        shape = AutoConfig.from_pretrained(str(base))
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"model.source: cannot load {base}: {error}") from error
    if settings.quantization and hasattr(shape, "quantization_config"):
        raise ModelError(
            f"model.quantization: the weights of {settings.source} are quantised already; "
            "leave it out, or name the model that they were made of"
        )


def drop_senses(model: Any) -> None:
    """Remove all but the text model of a multimodal model (vision, audio): opinions are text.

    They were loaded with the text model, and their memory becomes free for training. The text
    model keeps its name within the wrapper, and the adapter's tensors are named accordingly.
    """
    decoder, whole = model.get_decoder(), model.base_model
    for name, part in list(whole.named_children()):
        if decoder is not whole and all(module is not decoder for module in part.modules()):
            delattr(whole, name)


def attach_adapter(model: Any, config: TrainingConfig) -> Any:
    """Return the model with an adapter that changes nothing yet, of the shape of `start_from`'s.

    Raises `AdapterError`, or `ConfigError` where `lora.targets` match nothing.
    """
    begun, targets = config.start_from, config.lora.targets
    unfilled = model.device.type == "meta"
    try:
        return get_peft_model(model, shape_of(config), low_cpu_mem_usage=unfilled)
    except (OSError, TypeError, ValueError) as error:
        if begun:
            raise AdapterError(
                f"start_from: {begun} is no adapter of this model: {error}"
            ) from error
        raise ConfigError(f"lora.targets: {', '.join(targets)}: {error}") from error


def shape_of(config: TrainingConfig) -> Any:
    """Return the shape of the adapter that is trained, as peft has it: `start_from`'s if given."""
    if config.start_from:
        shape: Any = PeftConfig.from_pretrained(config.start_from)
        shape.inference_mode = False
        return shape
    lora = config.lora
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float is as good
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
    )


def working_dtype(dtype: str = "bfloat16") -> torch.dtype:
    """Return the type to compute in: that of the name, or float32 where this machine needs it."""
    on_gpu = torch.cuda.is_available()
    found: torch.dtype = getattr(torch, dtype if on_gpu else cpu.compute_dtype(dtype))
    return found


def load_weights(model: Any, folder: Path) -> None:
    """Put an adapter's weights into the model's, under whichever of its names they were written.

    Raises `AdapterError` where one does not fit, or one is not there.
    """
    held = get_peft_model_state_dict(model, save_embedding_layers=False)  # else the hub is asked
    names = {_own_name(name): name for name in held}
    try:
        weights = load_peft_weights(str(folder), device="cpu")
        ours = {names.get(_own_name(name), name): tensor for name, tensor in weights.items()}
        if odd := sorted(ours.keys() ^ held.keys()):
            raise AdapterError(f"{folder} does not fit the model: {odd[0]} is not in both")
        set_peft_model_state_dict(model, ours)
    except (OSError, ValueError, RuntimeError) as error:
        raise AdapterError(f"{folder} does not fit the model: {error}") from error


def naming(model: Any) -> str:
    """Return in words whose names the adapter's tensors have."""
    first = next(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    place = text_layer(first.removeprefix(_PREFIX))
    return NAMINGS[place[0]] if place else "the base model"


def cast_adapter(model: Any, dtype: torch.dtype) -> None:
    """Cast what is trainable."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _frozen(settings: TrainingModel, base: Path) -> Any:
    """Load the whole base model, vision and audio parts included, onto the device that trains."""
    refuse_quantised(settings, base)
    dtype = working_dtype(settings.dtype)
    given: dict[str, Any] = {"dtype": dtype}
    if torch.cuda.is_available():
        given["device_map"] = {"": 0}  # not by way of the host's memory
    if settings.quantization:
        given["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=settings.quantization,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(base), **given)
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"model.source: cannot load {base}: {error}") from error
    for module in model.modules():
        # On a CPU with products of 16 bits the first evaluation would pack the weights anew, with
        # their scales rounded, and training would go on with other ones.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _own_name(tensor: str) -> str:
    return own_name(tensor.removeprefix(_PREFIX))
