"""Trainings that are ended and begun again."""

from typing import Any

import pytest
import torch

from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.objectives import OnePass


class Killed(BaseException):
    """Stands for the end of the process."""


def changed(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """Return the settings with some changed; of groups, the settings in them."""
    values = config.model_dump()
    for name, value in changes.items():
        together = isinstance(value, dict) and isinstance(values[name], dict)
        values[name] = {**values[name], **value} if together else value
    return TrainingConfig.model_validate(values)


def kill_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Let the loss of the training's `call`-th batch never come."""
    real, calls = OnePass.loss, []

    def counted(self: OnePass, model: Any, batch: Any, over: Any = None) -> Any:
        if torch.is_grad_enabled():
            calls.append(1)
            if len(calls) == call:
                raise Killed
        return real(self, model, batch, over)

    monkeypatch.setattr(OnePass, "loss", counted)
