"""The library's trainer with our batches, loss, order, schedule and progress lines."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as library_logging

from medsent.commands.training.base import working_dtype
from medsent.commands.training.checkpoints import Checkpoint, mark_whole
from medsent.commands.training.config import OptimiserSettings, TrainingConfig
from medsent.commands.training.evaluation import macro_f1, tuned_results
from medsent.commands.training.objectives import Objective, OnePass
from medsent.commands.training.plan import steps_of
from medsent.commands.training.readings import Readings, SimilarLengths

logger = logging.getLogger(__name__)


_GLANCE = 150  # opinions of validation looked at on the way
_STEPS_A_LINE = 25


class AdapterTrainer(Trainer):
    """Trains what is trainable in `model` on `readings`, until the budget is spent."""

    loss_is_scaled_for_ga = True
    """To the library: a pass's loss is its share of the whole step's."""

    def __init__(
        self,
        config: TrainingConfig,
        model: Any,
        objective: Objective,
        labels: Sequence[str],
        readings: Readings,
        validation: Readings,
        checkpoints: Path,
    ) -> None:
        settings = config.optimiser
        steps = steps_of(config, readings)
        self._settings, self._objective, self._seed = settings, objective, config.seed
        self.budget = Budget(steps, settings.minutes)
        glance = partial(_glance_figures, labels=labels)
        library_logging.set_verbosity_error()
        super().__init__(
            model=model,
            args=_arguments(config, checkpoints, steps),
            train_dataset=readings,
            eval_dataset=validation.first(_GLANCE),
            data_collator=objective.collate,
            compute_metrics=glance if isinstance(objective, OnePass) else None,
            callbacks=[self.budget, Milestones(self.budget, settings)],
        )
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths:
        readings: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SimilarLengths(readings, self._settings.opinions_per_step, self._seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Return the cosine over the budget's progress."""
        warmup = self._settings.warmup
        theirs: Any = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(
            theirs,
            lambda step: warmup_cosine(self.budget.progress(step), warmup),
        )
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the objective's loss over what a step's passes weigh, and its logits if asked."""
        loss, logits = self._objective.loss(model, inputs, over=num_items_in_batch)
        return (loss, {"loss": loss, "logits": logits}) if return_outputs else loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Return a step's passes, and what they weigh together.

        A mean over passes would count each alike, however few labels one has.
        """
        passes = list(islice(epoch_iterator, num_batches))
        weights = [self._objective.weight(each).to(device) for each in passes]
        return passes, torch.stack(weights).sum() if weights else None

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        """Return loss, label logits and gold of one batch."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, logits = self._objective.loss(model, self._prepare_inputs(inputs))
        return loss.detach(), logits, inputs["labels"]


class OneDevice(TrainingArguments):
    """The library's arguments for one device: of several GPUs it would wrap the model in copies."""

    @property
    def n_gpu(self) -> int:
        """Return 1 where there is any."""
        return min(1, int(super().n_gpu))


class Budget(TrainerCallback):
    """Progress from 0 to 1: the larger of the steps' share and the minutes' share.

    Time spent before an interruption is kept with each checkpoint, so a resumed
    training goes on where it was.
    """

    def __init__(self, total_steps: int, minutes: float | None) -> None:
        self._total_steps = total_steps
        self._seconds = None if minutes is None else minutes * 60
        self._before = 0.0
        self._start = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds trained so far, earlier sessions included."""
        return self._before + time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Return the share of the training done, from 0 to 1."""
        share = step / self._total_steps
        if self._seconds is not None:
            share = max(share, self.elapsed() / self._seconds)
        return min(share, 1.0)

    def resume(self, last: Checkpoint | None) -> None:
        """Start the clock, counting what was spent up to the last checkpoint."""
        self._before = last.seconds if last else 0.0
        self._start = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop when the budget is spent."""
        if self.progress(state.global_step) >= 1.0:
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Complete the checkpoint that the trainer has just written."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        mark_whole(folder, self.elapsed())


class Milestones(TrainerCallback):
    """At equal shares of the progress: save, and evaluate on a glance of validation."""

    def __init__(self, budget: Budget, settings: OptimiserSettings) -> None:
        self._budget = budget
        self._counts = {"save": settings.checkpoints, "evaluate": settings.evaluations}
        self._passed = dict.fromkeys(self._counts, 0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count as passed what lies before the first step, or before the resumed one."""
        progress = self._budget.progress(state.global_step)
        self._passed = {what: int(progress * count) for what, count in self._counts.items()}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a line, a checkpoint or a glance where one is due."""
        progress = self._budget.progress(state.global_step)
        control.should_log = state.global_step % _STEPS_A_LINE == 0
        for what, count in self._counts.items():
            passed = int(progress * count)
            if passed > self._passed[what]:
                self._passed[what] = passed
                # At the end the whole of validation is evaluated anyway.
                setattr(control, f"should_{what}", what == "save" or progress < 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Print one line of progress."""
        if not logs:
            return
        done = f"{100 * self._budget.progress(state.global_step):5.1f}%"
        when = f"{done} {self._budget.elapsed() / 60:6.1f} min"
        if "eval_loss" in logs:
            macro = logs.get("eval_tuned_macro_f1")
            figure = "" if macro is None else f", macro F1 {macro:.3f} (tuned on the same opinions)"
            logger.info(f"{when}  validation (a part) loss {logs['eval_loss']:.4f}{figure}")
        elif "loss" in logs:
            loss, rate = float(logs["loss"]), float(logs["learning_rate"])
            logger.info(f"{when}  step {state.global_step}  loss {loss:.4f}  rate {rate:.2e}")


def warmup_cosine(progress: float, warmup: float) -> float:
    """Return the factor on the peak rate: linear up to `warmup`, then a cosine to zero."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _arguments(config: TrainingConfig, checkpoints: Path, steps: int) -> TrainingArguments:
    settings = config.optimiser
    on_gpu = torch.cuda.is_available()
    return OneDevice(
        output_dir=str(checkpoints),
        max_steps=steps,
        per_device_train_batch_size=settings.opinions_per_pass,
        per_device_eval_batch_size=settings.opinions_per_evaluation,
        gradient_accumulation_steps=settings.gradient_accumulation,
        gradient_checkpointing=settings.gradient_checkpointing,
        # The other kind of checkpointing gives no gradients where a layer's input needs none, as
        # here, with the embedding frozen.
        gradient_checkpointing_kwargs={"use_reentrant": False},
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta2=0.99,
        max_grad_norm=settings.max_grad_norm,
        bf16=working_dtype() == torch.bfloat16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        eval_strategy="no",  # milestones decide, by progress
        save_strategy="no",
        save_total_limit=2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        seed=config.seed,
        data_seed=config.seed,
    )


def _glance_figures(prediction: EvalPrediction, labels: Sequence[str]) -> dict[str, float]:
    """Return macro F1 at thresholds tuned on the same readings: a glance, not a result."""
    logits, gold = (
        np.asarray(part, dtype=np.float64).reshape(-1, len(labels))
        for part in (prediction.predictions, prediction.label_ids)
    )
    # Where opinions differ in their number of readers, the rest is padding without gold.
    read = ~np.isnan(gold).all(axis=1)
    return {"tuned_macro_f1": macro_f1(tuned_results(logits[read], gold[read], labels))}
