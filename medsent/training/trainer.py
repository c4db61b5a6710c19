"""One training, from its settings to a written adapter: the whole way on one screen."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from sklearn.metrics import f1_score
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from medsent.errors import AdapterError
from medsent.labels import LABELS
from medsent.model import resolve_model
from medsent.personas import load_personas
from medsent.statistics.thresholds import best_f1_thresholds
from medsent.training.config import OptimiserSettings, TrainingConfig
from medsent.training.objectives import Objective
from medsent.training.methods import objective_for
from medsent.training.readings import Opinion, Readings, SimilarLengths
from medsent.training.schedule import Budget, warmup_cosine

_GLANCE = 150  # opinions of validation looked at on the way


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the model in memory and how it went."""

    model: Any
    objective: Objective
    validation: Readings
    train: Readings
    steps: int
    seconds: float
    history: list[dict[str, float]]


def train(config: TrainingConfig, say: Any = print) -> Trained:
    """Train an adapter, resuming from the last checkpoint in its folder.

    Raises `ConfigError` or `InputError` before the model is loaded where data are wrong.
    """
    set_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    personas = load_personas(config.personas)
    readings = Readings(config.data.train, config.data.columns, personas)
    validation = Readings(config.data.validation, config.data.columns, personas)
    readings.refuse_overlap(validation)
    source = resolve_model(config.model.source, say)
    tokenizer = AutoTokenizer.from_pretrained(source)
    objective = objective_for(config, tokenizer, personas)
    model = build_model(config, source)
    checkpoints = Path(config.output) / "checkpoints"
    trainer = _Trainer(config, model, objective, readings, validation, checkpoints, say)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    say(f"{config.name}: {len(readings)} opinions to train on, {len(validation)} to validate"
        + (f"; resuming from {Path(last).name}" if last else ""))
    trainer.budget.resume(last)
    trainer.train(resume_from_checkpoint=last)
    return Trained(
        trainer.model, objective, validation, readings, trainer.state.global_step,
        trainer.budget.elapsed(), trainer.state.log_history,
    )


def build_model(config: TrainingConfig, source: str) -> Any:
    """Load the base model, frozen, with a trainable adapter in float32."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, config.model.dtype))
    if config.start_from:
        try:
            model = PeftModel.from_pretrained(model, config.start_from, is_trainable=True)
        except (OSError, ValueError) as error:
            raise AdapterError(f"start_from: {config.start_from} is no adapter: {error}") from error
    else:
        lora = config.lora
        model = get_peft_model(model, LoraConfig(
            task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha,
            lora_dropout=lora.dropout, target_modules=list(lora.targets),
        ))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def validation_figures(prediction: EvalPrediction) -> dict[str, float]:
    """Return the mean F1 over labels at thresholds tuned on the same readings: a glance, not a result."""
    logits, gold = (np.asarray(a).reshape(-1, len(LABELS)) for a in
                    (prediction.predictions, prediction.label_ids))
    known = ~np.isnan(gold).all(axis=1)
    logits, gold = logits[known], gold[known]
    cuts = np.array(best_f1_thresholds(gold, logits))
    scores = [f1_score(gold[:, i] == 1, logits[:, i] >= cuts[i], zero_division=0) for i in range(len(LABELS))]
    return {"tuned_macro_f1": float(np.mean(scores))}


class _Trainer(Trainer):
    """The library's trainer with our batches, loss, order and schedule."""

    def __init__(
        self, config: TrainingConfig, model: Any, objective: Objective, readings: Readings,
        validation: Readings, checkpoints: Path, say: Any,
    ) -> None:
        settings = config.optimiser
        steps = max(1, round(len(readings) * settings.epochs / settings.opinions_per_step))
        self._settings, self._objective, self._seed = settings, objective, config.seed
        self.budget = Budget(steps, settings.minutes)
        on_cpu = not torch.cuda.is_available()
        arguments = TrainingArguments(
            output_dir=str(checkpoints), max_steps=steps,
            per_device_train_batch_size=settings.opinions_per_step,
            per_device_eval_batch_size=2 * settings.opinions_per_step,
            learning_rate=settings.learning_rate, weight_decay=settings.weight_decay,
            adam_beta2=0.99, max_grad_norm=settings.max_grad_norm, bf16=True, use_cpu=on_cpu,
            eval_strategy="no", save_strategy="no", save_total_limit=2, logging_strategy="no",
            report_to=[], disable_tqdm=True, remove_unused_columns=False,
            label_names=["labels"], seed=config.seed, data_seed=config.seed,
        )
        glance = Readings.__new__(Readings)
        glance.path, glance.opinions = validation.path, validation.opinions[:_GLANCE]
        super().__init__(
            model=model, args=arguments, train_dataset=readings, eval_dataset=glance,
            data_collator=objective.collate,
            compute_metrics=validation_figures if config.method == "onepass" else None,
            callbacks=[self.budget, _Milestones(self.budget, settings, say)],
        )
        logging.getLogger("transformers").setLevel(logging.ERROR)
        for callback in list(self.callback_handler.callbacks):
            if type(callback).__name__ == "PrinterCallback":
                self.remove_callback(callback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths:
        readings = train_dataset if train_dataset is not None else self.train_dataset
        return SimilarLengths(readings, self._settings.opinions_per_step, self._seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        warmup = self._settings.warmup
        self.lr_scheduler = LambdaLR(
            optimizer or self.optimizer, lambda step: warmup_cosine(self.budget.progress(step), warmup)
        )
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, logits = self._objective.loss(model, inputs)
        return (loss, {"loss": loss, "logits": logits}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, logits = self._objective.loss(model, self._prepare_inputs(inputs))
        return loss.detach(), logits, inputs["labels"]


class _Milestones(TrainerCallback):
    """At equal shares of the progress: save, and evaluate on a glance of validation."""

    def __init__(self, budget: Budget, settings: OptimiserSettings, say: Any) -> None:
        self._budget, self._say = budget, say
        self._counts = {"save": settings.checkpoints, "evaluate": settings.evaluations}
        self._passed: dict[str, int] = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        progress = self._budget.progress(state.global_step)
        control.should_log = state.global_step % 25 == 0
        for what, count in self._counts.items():
            passed = int(progress * count)
            if passed > self._passed.setdefault(what, passed):
                self._passed[what] = passed
                setattr(control, f"should_{what}", True)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: Any,
    ) -> None:
        if not logs:
            return
        done = f"{100 * self._budget.progress(state.global_step):5.1f}%"
        minutes = f"{self._budget.elapsed() / 60:6.1f} min"
        if "eval_loss" in logs:
            macro = logs.get("eval_tuned_macro_f1")
            figure = "" if macro is None else f", macro F1 {macro:.3f} (tuned on the same {_GLANCE} opinions)"
            self._say(f"{done} {minutes}  validation loss {logs['eval_loss']:.4f}{figure}")
        elif "loss" in logs:
            self._say(f"{done} {minutes}  step {state.global_step}  loss {float(logs['loss']):.4f}"
                      f"  rate {float(logs['learning_rate']):.2e}")
