"""What a training would do and take: its steps, its tokens and its memory."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from medsent.commands.training.base import shape_of, working_dtype
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.memory import Memory, estimate
from medsent.commands.training.objectives import Batch, Objective
from medsent.commands.training.readings import Readings, SimilarLengths
from medsent.errors import MedsentError

logger = logging.getLogger(__name__)


_LOOKED_AT = 50  # steps whose tokens are counted
_LIKELY = 8  # times as many opinions as a pass has are looked at for the widest
_GB = 1e9


def tell_work(
    config: TrainingConfig, objective: Objective, train: Readings, validation: Readings
) -> None:
    """Say what there is to train on, and in how many steps of how many tokens."""
    settings = config.optimiser
    passes = settings.gradient_accumulation
    logger.info(
        f"{config.name}: {len(train):,} opinions with {train.records:,} readings to train on, "
        f"{len(validation):,} with {validation.records:,} to validate"
    )
    tokens = _tokens_per_step(config, objective, train)
    limit = f", or {settings.minutes:g} minutes" if settings.minutes else ""
    logger.info(
        f"{steps_of(config, train):,} steps{limit}, each of {settings.opinions_per_step} opinions "
        f"(about {tokens:,.0f} tokens, padding included) in "
        f"{passes} {'pass' if passes == 1 else 'passes'}"
    )


def steps_of(config: TrainingConfig, train: Readings) -> int:
    """Return the number of steps, if no budget of minutes ends them before."""
    settings = config.optimiser
    return max(1, round(len(train) * settings.epochs / settings.opinions_per_step))


def tell_memory(config: TrainingConfig, base: Path, objective: Objective, train: Readings) -> None:
    """Say what memory the training takes at its peak, and what there is.

    Errors are those of loading the model; other failures are told in place of the figures.
    """
    try:
        _tell_parts(config, base, objective, train)
    except MedsentError:
        raise
    except Exception as error:  # noqa: BLE001  # a training may do without the figures
        logger.info(_unknown(error))


def _tell_parts(config: TrainingConfig, base: Path, objective: Objective, train: Readings) -> None:
    batch = widest_pass(config, objective, train)
    memory = estimate(config, base, batch)
    where = "" if torch.cuda.is_available() else " on a GPU"
    tokens = batch["input_ids"].numel()
    logger.info(f"At its widest pass, of {tokens:,} tokens, it takes by calculation{where}:")
    for name, size in _parts(config, memory):
        if size:
            logger.info(f"  {size / _GB:7.2f} GB  {name}")
    logger.info(f"  {memory.total / _GB:7.2f} GB  in all")
    device, free = available()
    more = ", and trains in float32, which takes more" if _is_widened(config) else ""
    logger.info(f"{device} has {free / _GB:.1f} GB free{more}.")
    if memory.total > free:
        logger.info(_advice(config, base, objective, train, free))


def tell_lack(config: TrainingConfig, base: Path, objective: Objective, train: Readings) -> None:
    """Warn where the training takes more memory than the device has, if that can be told."""
    try:
        memory = estimate(config, base, widest_pass(config, objective, train))
        device, free = available()
        if memory.total > free:
            need = f"{memory.total / _GB:.0f} GB at its peak"
            has = f"{device} has {free / _GB:.0f} free"
            logger.warning(f"Warning: by calculation this training takes {need}, and {has}.")
            logger.warning(_advice(config, base, objective, train, free))
    except Exception as error:  # noqa: BLE001  # a training may do without the figures
        logger.info(_unknown(error))


def _unknown(error: Exception) -> str:
    return f"Its memory could not be estimated ({type(error).__name__})."


def _is_widened(config: TrainingConfig) -> bool:
    """Tell whether this machine computes in a wider type than the configuration names."""
    dtype: torch.dtype = getattr(torch, config.model.dtype)
    return working_dtype(config.model.dtype) != dtype


def widest_pass(config: TrainingConfig, objective: Objective, train: Readings) -> Batch:
    """Return a batch of the widest opinions: none of the training is wider."""
    count = config.optimiser.opinions_per_pass
    by_text = sorted(train.opinions, key=lambda opinion: len(opinion.text), reverse=True)
    by_readers = sorted(train.opinions, key=lambda opinion: len(opinion.personas), reverse=True)
    # Where the reader stands before the opinion, its text is there once for each of them.
    by_both = sorted(train.opinions, key=lambda o: len(o.text) * len(o.personas), reverse=True)
    most = _LIKELY * count
    likely = {o.opinion_id: o for o in by_text[:most] + by_readers[:most] + by_both[:most]}
    widths = {key: objective.collate([o])["input_ids"].shape[1] for key, o in likely.items()}
    chosen = sorted(likely, key=widths.__getitem__)[-count:]
    return objective.collate([likely[key] for key in chosen])


def available() -> tuple[str, float]:
    """Return the name of the device that would train here, and its free memory in bytes."""
    if torch.cuda.is_available():
        return f"This machine's {torch.cuda.get_device_name(0)}", float(
            torch.cuda.mem_get_info()[0]
        )
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    known = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return "No GPU here: this machine", 1024.0 * int(known["MemAvailable"].split()[0])


def _parts(config: TrainingConfig, memory: Memory) -> Iterator[tuple[str, float]]:
    kind = config.model.quantization or config.model.dtype
    checkpointing = config.optimiser.gradient_checkpointing
    yield f"the text model's weights ({kind})", memory.weights
    yield f"the adapter of rank {shape_of(config).r}, its gradients and AdamW", memory.adapter
    how = "with" if checkpointing else "without"
    yield f"what the layers keep, {how} gradient checkpointing", memory.activations
    yield "the vocabulary's logits", memory.answers
    yield "a layer unpacked", memory.unpacking
    yield "torch's and the device's own", memory.libraries


def _tokens_per_step(config: TrainingConfig, objective: Objective, train: Readings) -> float:
    settings = config.optimiser
    order = list(SimilarLengths(train, settings.opinions_per_step, config.seed))
    size = settings.opinions_per_pass
    passes = [order[start : start + size] for start in range(0, len(order), size)]
    every = max(1, len(passes) // (_LOOKED_AT * settings.gradient_accumulation))
    chosen = passes[::every]
    tokens = [objective.collate([train[i] for i in each])["input_ids"].numel() for each in chosen]
    return sum(tokens) / len(tokens) * settings.gradient_accumulation


def _advice(
    config: TrainingConfig, base: Path, objective: Objective, train: Readings, free: float
) -> str:
    """Return the first settings, each with those before it, that make the training fit."""
    told = []
    for setting, value in _savings(config):
        config = _with(config, setting, value)
        told.append(f"{setting}: {str(value).lower()}")
        total = estimate(config, base, widest_pass(config, objective, train)).total
        if total <= free:
            return f"With {', '.join(told)} it takes {total / _GB:.1f} GB."
    if not told:
        return "No setting makes it take less; it needs a larger device."
    return f"Even with {', '.join(told)} it takes {total / _GB:.1f} GB; it needs a larger device."


def _savings(config: TrainingConfig) -> Iterator[tuple[str, Any]]:
    """Yield settings that save memory, those that change no result first."""
    settings = config.optimiser
    if not settings.gradient_checkpointing:
        yield "optimiser.gradient_checkpointing", True
    if settings.opinions_per_pass > 1:
        yield "optimiser.gradient_accumulation", settings.opinions_per_step
    if not config.model.quantization:
        yield "model.quantization", "nf4"


def _with(config: TrainingConfig, setting: str, value: object) -> TrainingConfig:
    group, name = setting.split(".")
    values = config.model_dump()
    return TrainingConfig.model_validate({**values, group: {**values[group], name: value}})
