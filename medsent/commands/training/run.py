"""One training, from its settings to a written adapter: the whole way on one screen."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from medsent.commands.training.base import (
    build_model,
    cast_adapter,
    load_weights,
    naming,
    refuse_quantised,
    refuse_unquantisable,
)
from medsent.commands.training.card import Facts, SplitFacts
from medsent.commands.training.checkpoints import (
    BASE,
    Checkpoint,
    claim,
    drop_partial,
    last_checkpoint,
    refuse_others,
)
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.evaluation import evaluate, macro_f1, tuned_results
from medsent.commands.training.objectives import Objective, objective_for
from medsent.commands.training.output import Result, write_adapter
from medsent.commands.training.plan import tell_lack, tell_memory, tell_work
from medsent.commands.training.readings import Readings
from medsent.commands.training.task import Task, open_task
from medsent.commands.training.trainer import AdapterTrainer
from medsent.errors import ConfigError
from medsent.models.source import content_sha256, is_on_hub, load_tokenizer, resolve_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the model in memory, and how it went."""

    config: TrainingConfig
    task: Task
    model: Any
    objective: Objective
    train: Readings
    validation: Readings
    base: Path
    """The base model's folder."""
    steps: int
    seconds: float


def run_training(config: TrainingConfig) -> Path:
    """Train an adapter, evaluate it, write its folder, and return that folder.

    Goes on from the last checkpoint; where that is the end of the training (or of a budget
    that was lowered since), only evaluates and writes. Raises `ConfigError`, `InputError`,
    `ModelError` or `AdapterError` before anything is trained.
    """
    trained = train(config)
    # The type it is written and served in, so that what is evaluated is what is written.
    cast_adapter(trained.model, torch.bfloat16)
    result = evaluate_both(trained)
    facts = _facts(trained, result)
    return write_adapter(config, trained.task, trained.model, trained.validation, result, facts)


def train(config: TrainingConfig) -> Trained:
    """Train, from the last checkpoint if there is one; errors as above."""
    refuse_unquantisable(config.model)
    set_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    task = open_task(config)
    readings, validation = _splits(config, task)
    folder, recipe = _checkpoints(config), _recipe(config, task, readings)
    refuse_others(folder, recipe)  # before a model is fetched
    base = resolve_model(config.model.source, config.model.revision)
    refuse_quantised(config.model, base)
    claim(folder, {**recipe, BASE: content_sha256(base)})
    drop_partial(folder)
    last = last_checkpoint(folder)
    objective = objective_for(task, load_tokenizer(base))
    if torch.cuda.is_available():
        tell_lack(config, base, objective, readings)
    model = build_model(config, base)
    names = task.labels.names
    trainer = AdapterTrainer(config, model, objective, names, readings, validation, folder)
    trainer.budget.resume(last)
    logger.info(
        f"{config.name}: {len(readings)} opinions to train on, {len(validation)} to validate"
    )
    steps, seconds = _learn(trainer, last)
    return Trained(
        config, task, trainer.model, objective, readings, validation, base, steps, seconds
    )


def plan_training(config: TrainingConfig) -> None:
    """Say what a training would do and take, and start nothing; errors as above.

    The weights of a model on the hub are not fetched. So one error is found by the training only:
    that the checkpoints belong to other weights of this model.
    """
    refuse_unquantisable(config.model)
    task = open_task(config)
    readings, validation = _splits(config, task)
    folder, recipe = _checkpoints(config), _recipe(config, task, readings)
    refuse_others(folder, recipe)
    model = config.model
    base = resolve_model(model.source, model.revision, weights=False)
    refuse_quantised(model, base)
    if folder.is_dir() and not is_on_hub(model.source):
        refuse_others(folder, {**recipe, BASE: content_sha256(base)})
    objective = objective_for(task, load_tokenizer(base))
    tell_work(config, objective, readings, validation)
    tell_memory(config, base, objective, readings)


def evaluate_both(trained: Trained) -> Result:
    """Evaluate the adapter and the base model on the full validation split."""
    model, objective, validation = trained.model, trained.objective, trained.validation
    at_once, names = trained.config.optimiser.opinions_per_evaluation, trained.task.labels.names
    logger.info(f"Evaluating the adapter on {validation.records} readings of validation")
    own = evaluate(model, objective, validation, at_once)
    logger.info("Evaluating the base model on the same")
    with model.disable_adapter():
        base = evaluate(model, objective, validation, at_once)
    if own.logits is None or base.logits is None:
        logger.info(f"validation loss {own.loss:.4f}, base model {base.loss:.4f}")
        return Result(own.loss, base.loss, None, None)
    labels = tuned_results(own.logits, own.gold, names)
    baseline = tuned_results(base.logits, base.gold, names)
    logger.info(
        f"validation macro F1 {macro_f1(labels):.3f}, base model {macro_f1(baseline):.3f} "
        "(both with thresholds tuned on it)"
    )
    return Result(own.loss, base.loss, labels, baseline)


def _learn(trainer: AdapterTrainer, last: Checkpoint | None) -> tuple[int, float]:
    """Train what is left to train; return the steps and seconds over all sessions."""
    if last and trainer.budget.progress(last.step) >= 1.0:
        logger.info(f"Its {last.step} steps are done, in {last.seconds / 60:.1f} minutes")
        load_weights(trainer.model, last.folder)
        return last.step, last.seconds
    if last:
        logger.info(
            f"Resuming from step {last.step}, after {last.seconds / 60:.1f} minutes of training"
        )
    try:
        trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            "the device's memory was not enough; `medsent train --dry-run` says what takes it and "
            "which settings take less"
        ) from error
    return trainer.state.global_step, trainer.budget.elapsed()


def _splits(config: TrainingConfig, task: Task) -> tuple[Readings, Readings]:
    readings = _read(config, task, config.data.train)
    validation = _read(config, task, config.data.validation)
    readings.refuse_overlap(validation)
    kept = readings.without_texts_of(validation)
    if left_out := len(readings) - len(kept):
        logger.info(
            f"{readings.path}: {left_out:,} opinions left out, since {validation.path} has their "
            "text under another id"
        )
    return kept, validation


def _read(config: TrainingConfig, task: Task, path: str) -> Readings:
    readings = Readings.read(
        path, config.data.columns, task.personas, task.labels.names, task.languages
    )
    if readings.unusable:
        logger.info(
            f"{path}: {readings.unusable} rows left out (no text, unknown persona or no labels)"
        )
    return readings


def _checkpoints(config: TrainingConfig) -> Path:
    return Path(config.checkpoints or f"{config.output}/checkpoints")


def _recipe(config: TrainingConfig, task: Task, readings: Readings) -> dict[str, Any]:
    """Return what must not change between the sessions of one training, but the base's content.

    Prompt, answer and labels are included where their content differs from what ships.
    """
    recipe = config.model_dump(
        mode="json",
        include={"model", "method", "personas", "lora", "label_weights", "start_from", "seed"},
        exclude_none=True,  # so a setting added later, if null, refuses no old checkpoint
    )
    recipe["model"].pop("revision", None)  # the content counts, whatever the revision is called
    how = {"minutes", "checkpoints", "evaluations"}  # how long and how often, not what
    how |= {"gradient_accumulation", "gradient_checkpointing"}
    recipe["optimiser"] = config.optimiser.model_dump(mode="json", exclude=how)
    return {**recipe, **task.unshipped(), "train_digest": readings.digest()}


def _facts(trained: Trained, result: Result) -> Facts:
    return Facts(
        train=_split(trained.train),
        validation=_split(trained.validation),
        steps=trained.steps,
        seconds=trained.seconds,
        loss=result.loss,
        baseline_loss=result.baseline_loss,
        base_digest=content_sha256(trained.base),
        architecture=str(trained.model.config.model_type),
        naming=naming(trained.model),
    )


def _split(readings: Readings) -> SplitFacts:
    return SplitFacts(readings.path, len(readings), readings.records, readings.digest())
