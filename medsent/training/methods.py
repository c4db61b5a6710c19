"""The objective that belongs to an answer method."""

from typing import Any

from medsent.answers import onepass
from medsent.personas import Persona
from medsent.prompts import Prompter
from medsent.training.config import TrainingConfig
from medsent.training.objectives import Objective, OnePass


def objective_for(
    config: TrainingConfig, tokenizer: Any, personas: dict[str, Persona]
) -> Objective:
    """Return what is learnt for `config.method`."""
    prompter = Prompter(tokenizer, onepass.PROMPT, personas)
    return OnePass(prompter, config.label_weights, onepass.label_token_ids(tokenizer))
