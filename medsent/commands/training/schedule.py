"""The learning rate over a training that ends by steps or by a budget of minutes."""

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medsent.commands.training.checkpoints import Checkpoint, mark_whole


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


def warmup_cosine(progress: float, warmup: float) -> float:
    """Return the factor on the peak rate: linear up to `warmup`, then a cosine to zero."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
