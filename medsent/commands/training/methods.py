"""The objective that belongs to an answer method."""

from functools import partial
from typing import Any

from medsent.answers import bits, json
from medsent.answers.method import method_for
from medsent.commands.training.objectives import Answer, Objective, OnePass
from medsent.commands.training.task import Task
from medsent.prompts.prompter import Prompter


def objective_for(task: Task, tokenizer: Any) -> Objective:
    """Return what is learnt for a task.

    Raises `ModelError` where the tokenizer or its chat template does not allow the task.
    """
    method = method_for(task.method, tokenizer, task.labels, task.answer)
    prompter = Prompter(tokenizer, task.prompt, task.personas, task.labels)
    if task.method == "onepass":
        return OnePass(prompter, task.weights, method.ask.token_ids)
    if task.answer is None:
        return Answer(prompter, task.weights, partial(bits.write, tokenizer=tokenizer))
    form = task.answer.form_of(task.labels.names)
    return Answer(prompter, task.weights, partial(json.write, form=form, tokenizer=tokenizer))
