"""A variant with its files opened and checked: adapter, prompt, answer, thresholds."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medsent.answers.file import AnswerFile, load_answer, shipped_answer
from medsent.answers.method import AnswerMethod, Method, method_named
from medsent.config.job import VariantSettings
from medsent.config.labels import Labels, load_labels
from medsent.config.personas import Persona
from medsent.errors import AdapterError, ConfigError, ModelError
from medsent.metrics.statistics.thresholds import NEUTRAL, Thresholds, TunedOn, read_thresholds
from medsent.models.adapter import ANSWER, CARD, LABELS, PROMPT, Adapter, open_adapter
from medsent.models.merge import read_merged
from medsent.prompts.file import PromptFile, load_prompt
from medsent.prompts.prompter import Prompter

Origin = Literal["job", "adapter", "shipped"]
"""Where a prompt or answer file is from: the job names it, it lies beside the adapter, or none
does and it is the one that ships."""

_CARD_METHOD = re.compile(r"answer method\s+`(\w+)` of medsent")


@dataclass(frozen=True)
class Variant:
    """One way to answer, ready to be asked."""

    name: str
    settings: VariantSettings
    method: AnswerMethod
    adapter: Adapter | None
    prompt: PromptFile
    prompt_from: Origin
    answer: AnswerFile | None
    """Of method `json`, with the job's own settings in it; None for the others."""
    thresholds: dict[str, float]
    """Label to the probability from which it is predicted."""
    tuned_on: TunedOn | None = None
    """What the thresholds were tuned on; None for 0.5."""
    adapter_sha256: str | None = None
    """Of the adapter's weights, be it beside the model or merged into it."""
    trained_as: "Trained | None" = None
    """What its adapter was trained to be asked; None where nothing tells."""

    @property
    def has_probabilities(self) -> bool:
        """Whether its answers have a probability for each label."""
        return self.method.has_probabilities and (
            self.answer is None or self.answer.has_probabilities
        )

    def bind(
        self, tokenizer: Any, personas: dict[str, Persona], labels: Labels
    ) -> tuple[Method, Prompter]:
        """Return the method and the prompter, bound to a tokenizer.

        Raises `ConfigError` or `ModelError` that names the variant where the model, the labels,
        the prompt and the answer do not go together.
        """
        try:
            method = self.method.bind(tokenizer, labels, self.answer)
            self._refuse_begun_json()
            return method, Prompter(tokenizer, self.prompt, personas, labels)
        except (ConfigError, ModelError) as error:
            raise type(error)(f"variants.{self.name}: {error}") from error

    def _refuse_begun_json(self) -> None:
        """Refuse a prompt that begins the JSON itself: it would be read without its beginning."""
        if self.answer is None:
            return
        for begun in self.prompt.begun:
            last = begun.rstrip()[-1:]
            if last in ("{", "[") or begun.count("{") > begun.count("}"):
                raise ConfigError(
                    "the prompt begins the JSON of the answer, which would then be read without "
                    "this beginning; leave the JSON out of the last assistant message: under a "
                    "grammar the model writes the same characters itself"
                )


@dataclass(frozen=True)
class Trained:
    """What the folder of an adapter, or of a merged model, says of how it was trained."""

    method: str | None = None
    """The answer method that a model card of medsent names; None without such a card."""
    prompt: PromptFile | None = None
    answer: AnswerFile | None = None
    labels: Labels | None = None

    @classmethod
    def read(cls, folder: Path) -> "Trained | None":
        """Read what a folder has; None where it has nothing of it."""
        card = folder / CARD
        told = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        said = _CARD_METHOD.search(told)
        prompt = load_prompt(folder / PROMPT) if (folder / PROMPT).is_file() else None
        answer = load_answer(folder / ANSWER) if (folder / ANSWER).is_file() else None
        labels = load_labels(str(folder / LABELS)) if (folder / LABELS).is_file() else None
        if not any((said, prompt, answer, labels)):
            return None
        return cls(said and said[1], prompt, answer, labels)


def open_variants(
    settings: dict[str, VariantSettings],
    tuned: dict[str, Thresholds | None],
    labels: Labels,
    model_folder: Path,
) -> tuple[Variant, ...]:
    """Open all variants' files; `tuned` is by variant. Raises errors that name the setting."""
    return tuple(
        _open(name, each, tuned[name], labels, model_folder) for name, each in settings.items()
    )


def open_thresholds(settings: VariantSettings) -> Thresholds | None:
    """Read a variant's thresholds file; `ConfigError` where it is of another method."""
    if settings.thresholds is None:
        return None
    tuned = read_thresholds(settings.thresholds)
    if tuned.method != settings.method:
        raise ConfigError(
            f"thresholds: {settings.thresholds} cuts probabilities of method {tuned.method}, and "
            f"the variant's method is {settings.method}; take the setting out for 0.5"
        )
    return tuned


def _open(
    name: str,
    settings: VariantSettings,
    tuned: Thresholds | None,
    labels: Labels,
    model_folder: Path,
) -> Variant:
    merged = read_merged(model_folder)
    if merged and settings.adapter:
        raise AdapterError(
            f"variants.{name}.adapter: the model has {merged.adapter.source} in it already; take "
            "the setting out, or name the base model"
        )
    adapter = (
        open_adapter(name, settings.adapter, model_folder, settings.revision)
        if settings.adapter
        else None
    )
    applied = adapter or (merged and merged.adapter)
    trained = Trained.read(adapter.folder if adapter else model_folder) if applied else None
    method = method_named(settings.method)
    prompt, origin = _prompt(settings, method, trained)
    answer = _answer(settings, trained)
    variant = Variant(
        name,
        settings,
        method,
        adapter,
        prompt,
        origin,
        answer,
        dict.fromkeys(labels.names, NEUTRAL),
        adapter_sha256=applied.sha256 if applied else None,
        trained_as=trained,
    )
    return variant if tuned is None else _with_thresholds(variant, tuned, labels)


def _prompt(
    settings: VariantSettings, method: AnswerMethod, trained: Trained | None
) -> tuple[PromptFile, Origin]:
    if settings.prompt is not None:
        return load_prompt(settings.prompt), "job"
    if trained and trained.prompt and trained.method in (None, settings.method):
        return trained.prompt, "adapter"
    return method.prompt(), "shipped"


def _answer(settings: VariantSettings, trained: Trained | None) -> AnswerFile | None:
    if settings.method != "json":
        return None
    if settings.answer is not None:
        answer = load_answer(settings.answer)
    else:
        answer = (trained and trained.answer) or shipped_answer()
    return answer.with_settings(settings.guided, settings.sampling)


def _with_thresholds(variant: Variant, tuned: Thresholds, labels: Labels) -> Variant:
    """Return the variant with its thresholds; `ConfigError` where they are of something else."""
    setting, file = f"variants.{variant.name}.thresholds", variant.settings.thresholds
    remedy = "name the file that belongs to this variant, or take the setting out for 0.5"
    if not variant.has_probabilities:
        raise ConfigError(
            f"{setting}: method json has probabilities only for a guided object, so that there is "
            "nothing to cut; take the setting out"
        )
    if tuned.adapter_sha256 != variant.adapter_sha256:
        other = "another adapter" if tuned.adapter_sha256 else "the base model"
        raise ConfigError(f"{setting}: {file} was tuned for {other}; {remedy}")
    for what, theirs, ours in (
        ("prompt", tuned.prompt, variant.prompt.digest()),
        ("answer file", tuned.answer, variant.answer and variant.answer.digest()),
    ):
        if theirs not in (None, ours):
            raise ConfigError(f"{setting}: {file} was tuned under another {what}; {remedy}")
    tuned.check_labels(labels.names, f"{setting}: {file}")
    cuts = {label: tuned.thresholds[label] for label in labels.names}
    return replace(variant, thresholds=cuts, tuned_on=tuned.tuned_on)
