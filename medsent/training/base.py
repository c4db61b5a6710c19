"""The base model under an adapter: loaded frozen and fitted with LoRA."""

from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from medsent.engine import cpu
from medsent.errors import AdapterError, ConfigError, ModelError
from medsent.training.config import LoraSettings, TrainingConfig


def build_model(config: TrainingConfig, base: Path) -> Any:
    """Load the base model, frozen, with a trainable adapter in float32.

    Raises `ModelError`, or `AdapterError` for an adapter to start from, or `ConfigError`
    where `lora.targets` match nothing.
    """
    logging.disable_progress_bar()
    try:
        dtype = working_dtype(config.model.dtype)
        model: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"model.source: cannot load {base}: {error}") from error
    start = config.start_from
    model = _started(model, start) if start else _fresh(model, config.lora)
    _cast_adapter(model, torch.float32)
    return model


def working_dtype(dtype: str = "bfloat16") -> torch.dtype:
    """Return the type to compute in: that of the name, or float32 where this machine needs it."""
    on_gpu = torch.cuda.is_available()
    found: torch.dtype = getattr(torch, dtype if on_gpu else cpu.compute_dtype(dtype))
    return found


def load_weights(model: Any, checkpoint: Path) -> None:
    """Put a checkpoint's adapter into the model. Raises `AdapterError` where it does not fit."""
    try:
        weights = load_peft_weights(str(checkpoint), device="cpu")
        loaded: Any = set_peft_model_state_dict(model, weights)
    except (OSError, ValueError, RuntimeError) as error:
        raise AdapterError(f"{checkpoint} does not fit the model: {error}") from error
    if loaded.unexpected_keys:
        raise AdapterError(
            f"{checkpoint} does not fit the model, which has no {loaded.unexpected_keys[0]}"
        )


def round_adapter(model: Any) -> None:
    """Cast the adapter to bfloat16, the type it is written and served in."""
    _cast_adapter(model, torch.bfloat16)


def _fresh(model: Any, lora: LoraSettings) -> Any:
    # A multimodal model's vision tower has the same names; opinions are text.
    sees = any("vision" in name for name, _ in model.named_modules())
    shape = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float is as good
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        exclude_modules=".*vision.*" if sees else None,
    )
    try:
        return get_peft_model(model, shape)
    except ValueError as error:
        raise ConfigError(f"lora.targets: {', '.join(lora.targets)}: {error}") from error


def _started(model: Any, folder: str) -> Any:
    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise AdapterError(f"start_from: {folder} is no adapter of this model: {error}") from error


def _cast_adapter(model: Any, dtype: torch.dtype) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
