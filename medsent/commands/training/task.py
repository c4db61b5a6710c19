"""What an adapter is trained to be asked, from the files that a configuration names."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsent.answers.file import AnswerFile, load_answer, shipped_answer
from medsent.answers.method import AnswerMethod, method_named
from medsent.commands.training.config import TrainingConfig
from medsent.config.labels import Labels, load_labels
from medsent.config.personas import Persona, load_personas
from medsent.errors import ConfigError
from medsent.models.adapter import LABELS
from medsent.prompts.file import PromptFile, load_prompt
from medsent.prompts.languages import languages_of
from medsent.scoring.variant import Trained


@dataclass(frozen=True)
class Task:
    """A prompt, the answer to it, and the labels that it is about."""

    method: AnswerMethod
    prompt: PromptFile
    answer: AnswerFile | None
    """Of method `json`; None for the others."""
    labels: Labels
    weights: tuple[float, ...]
    """(L,) of the labels' losses."""
    personas: dict[str, Persona]

    @property
    def languages(self) -> frozenset[str]:
        """Those that it has words in, by their codes."""
        return languages_of(self.personas.values(), self.labels, [self.prompt])

    def content(self) -> dict[str, Any]:
        """Return what `prompt`, `answer` (of `json` alone) and `labels` say, as in their files."""
        answer = {"answer": self.answer.content()} if self.answer else {}
        return {"prompt": self.prompt.content(), **answer, "labels": self.labels.content()}

    def unshipped(self) -> dict[str, Any]:
        """Return the parts of its content that differ from the files that ship."""
        shipped = replace(
            self,
            prompt=self.method.prompt(),
            answer=self.answer and shipped_answer(),
            labels=load_labels(None),
        ).content()
        learnt = self.content()
        if "answer" in learnt:  # how an answer is generated is not part of training
            for name in ("guided", "sampling"):
                learnt["answer"].pop(name, None)
        return {name: said for name, said in learnt.items() if said != shipped[name]}


def open_task(config: TrainingConfig) -> Task:
    """Read the files that a configuration names, or that lie in `start_from`, or that ship.

    Raises `ConfigError` that names the file or setting at fault.
    """
    begun = Trained.read(Path(config.start_from)) if config.start_from else None
    labels = _labels(config, begun.labels if begun else None)
    if begun and begun.method not in (None, config.method):
        begun = None  # a prompt for another kind of answer
    method = method_named(config.method)
    if method.training is None:
        raise ConfigError(f"method: nothing can be trained for {config.method}; name another")
    return Task(
        method,
        _prompt(config, begun),
        _answer(config, begun, labels),
        labels,
        _weights(config, labels),
        load_personas(config.personas),
    )


def _labels(config: TrainingConfig, begun: Labels | None) -> Labels:
    """Return the labels; those of an adapter to start from must be the same."""
    if begun is None:
        return load_labels(config.labels)
    if config.labels is None:
        return begun
    labels = load_labels(config.labels)
    if labels.names != begun.names:
        raise ConfigError(
            f"labels: {config.labels} is of other labels than {config.start_from} was trained "
            f"for{_difference(labels, begun)}; start from another adapter, or leave the setting "
            f"out for the labels of {config.start_from}/{LABELS}"
        )
    return labels


def _difference(labels: Labels, begun: Labels) -> str:
    more = [name for name in labels.names if name not in begun.names]
    lost = [name for name in begun.names if name not in labels.names]
    told = [f"has {', '.join(more)} beside them"] if more else []
    told += [f"lacks {', '.join(lost)}"] if lost else []
    return f" (it {' and '.join(told)})" if told else " (it has them in another order)"


def _prompt(config: TrainingConfig, begun: Trained | None) -> PromptFile:
    if config.prompt is not None:
        return load_prompt(config.prompt)
    return (begun and begun.prompt) or method_named(config.method).prompt()


def _answer(config: TrainingConfig, begun: Trained | None, labels: Labels) -> AnswerFile | None:
    if config.method != "json":
        return None
    if config.answer is not None:
        answer = load_answer(config.answer)
    else:
        answer = (begun and begun.answer) or shipped_answer()
    try:
        answer.form_of(labels.names)
    except ConfigError as error:
        raise ConfigError(f"answer: {error}") from error
    return answer


def _weights(config: TrainingConfig, labels: Labels) -> tuple[float, ...]:
    unknown = sorted(set(config.label_weights) - set(labels.names))
    if unknown:
        raise ConfigError(
            f"label_weights: {', '.join(unknown)} is no label; known are {', '.join(labels.names)}"
        )
    return tuple(config.label_weights.get(name, 1.0) for name in labels.names)
