"""The objective that belongs to an answer method."""

from functools import partial
from typing import Any

from medsent.answers import bits, json, onepass
from medsent.personas import Persona
from medsent.prompts import Prompter
from medsent.training.config import TrainingConfig
from medsent.training.objectives import Answer, Objective, OnePass


def objective_for(
    config: TrainingConfig, tokenizer: Any, personas: dict[str, Persona]
) -> Objective:
    """Return what is learnt for `config.method`.

    Raises `ModelError` where the tokenizer does not allow the method.
    """
    weights = config.label_weights
    if config.method == "onepass":
        prompter = Prompter(tokenizer, onepass.PROMPT, personas)
        return OnePass(prompter, weights, onepass.label_token_ids(tokenizer))
    if config.method == "bits":
        bits.digit_token_ids(tokenizer)
        prompter = Prompter(tokenizer, bits.PROMPT, personas)
        return Answer(prompter, weights, partial(bits.write, tokenizer=tokenizer))
    prompter = Prompter(tokenizer, json.PROMPT, personas)
    return Answer(prompter, weights, partial(json.write, tokenizer=tokenizer))
