"""The objective that belongs to an answer method."""

from typing import Any

from medsent.commands.training.objectives import Answer, Objective, OnePass
from medsent.commands.training.task import Task
from medsent.prompts.prompter import Prompter


def objective_for(task: Task, tokenizer: Any) -> Objective:
    """Return what is learnt for a task.

    Raises `ModelError` where the tokenizer or its chat template does not allow the task.
    """
    bound, training = task.method.bind(tokenizer, task.labels, task.answer), task.method.training
    prompter = Prompter(tokenizer, task.prompt, task.personas, task.labels)
    if training == "logits":
        return OnePass(prompter, task.weights, bound.ask.token_ids)
    assert training is not None  # as `open_task` refuses
    return Answer(prompter, task.weights, training(tokenizer, task.labels, task.answer))
