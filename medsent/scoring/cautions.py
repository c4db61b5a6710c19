"""Warnings about a job's prompts, adapters and gold, one line each."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from medsent.answers.file import AnswerFile, shipped_answer
from medsent.answers.method import method_named
from medsent.config.labels import load_labels
from medsent.config.methods import known_methods
from medsent.errors import ConfigError, InputError, some_of
from medsent.input.gold_sample import GoldSample, sample_gold
from medsent.input.lookup import Lookup, Row
from medsent.models.source import BUILTIN, is_on_hub, load_tokenizer
from medsent.prompts.file import PromptFile, spoken_for
from medsent.prompts.sharing import sharing
from medsent.prompts.visible import as_name, harmless
from medsent.scoring.plan import Plan
from medsent.scoring.variant import Trained, Variant

SAMPLE: Final = 500
"""Records that are looked at."""
_OPINIONS: Final = 8
"""Opinions of these whose prompts are made for all their readers."""
_DEARER: Final = 1.05
"""The factor in tokens from which the persona's place in the prompt is warned about."""
_HELD_AS: Final = re.compile(r"(-(unsloth|bnb|[48]bit|bf16|fp16))+$")
"""Suffixes of a model's name that only mark a converted or quantised copy of the model."""
_NAMED: Final = 3
"""Languages that are named."""


class Sampled:
    """Some records of a plan's input and the tokenizer, read when they are first asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.damaged: list[str] = []
        """What is wrong inside shards that were looked at, where the job goes on without them."""

    @cached_property
    def rows(self) -> list[Row]:
        """About `SAMPLE` records, quarantined ones among them.

        Raises `InputError` for a damaged shard, unless the job would quarantine it and records of
        other shards are found.
        """
        plan = self._plan
        looked_up = Lookup(
            plan.shards, plan.personas, plan.readers, plan.longest_text, plan.languages
        )
        goes_on = plan.config.input.on_bad_shard == "quarantine"
        rows = looked_up.spread(SAMPLE, self.damaged if goes_on else None)
        if self.damaged and not rows:
            raise InputError("; ".join(self.damaged))
        return rows

    @cached_property
    def gold(self) -> GoldSample:
        """What gold some rows of the input have."""
        return sample_gold(self._plan.shards)

    @cached_property
    def good(self) -> list[Row]:
        """Those that can be scored; none where a shard is damaged, which the job itself tells."""
        try:
            return [row for row in self.rows if not row["reason"]]
        except InputError:
            return []

    @cached_property
    def tokenizer(self) -> Any:
        """The model's."""
        return load_tokenizer(self._plan.model_on_this_node())


def cautions(plan: Plan, sampled: Sampled | None = None) -> Iterator[str]:
    """Yield what may make a variant's answers worse or dearer than they need be."""
    sampled = sampled or Sampled(plan)
    yield from (f"gold: {each}" for each in sampled.gold.cautions())
    yield from _foreign(plan, sampled)
    for variant in plan.variants:
        found = (
            *_training(variant, plan),
            *_readers(variant, plan, sampled),
            *_languages(variant.prompt, sampled),
            *_descriptions(variant.prompt, plan),
        )
        yield from (f"{variant.name}: {each}" for each in found)


def _training(variant: Variant, plan: Plan) -> Iterator[str]:
    """Yield a warning for each difference between how an adapter is asked and was trained."""
    trained = variant.trained_as
    if variant.adapter_sha256 is None:
        return
    yield from _other_base(variant, plan)
    if (trained is None or _trained_prompt(trained) is None) and variant.prompt_from == "shipped":
        yield (
            "its adapter names no prompt: nothing tells whether it was trained with the one "
            f"that ships; `medsent prompt JOB --variant {variant.name} --against FILE` "
            "compares with what its training pipeline rendered"
        )
    if _guesses_answer(variant):
        yield (
            "its adapter names no answer file, nor does the job: nothing tells whether it was "
            "trained to answer in the form that ships"
        )
    if trained is None:
        return
    if trained.method not in (None, variant.settings.method):
        yield (
            f"its adapter was trained for method {trained.method}, and is asked by "
            f"{variant.settings.method}"
        )
    prompt = _trained_prompt(trained)
    if prompt is not None and prompt != variant.prompt:
        yield (
            f"its adapter was trained with another prompt (digest {prompt.digest()}) than it is "
            f"asked with ({variant.prompt.digest()})"
        )
    if _other_answer(trained, variant, plan.labels.names):
        yield "its adapter was trained to answer in another form than its answer file has"
    learnt = trained.labels
    if learnt is None and trained.method:
        learnt = load_labels(None)  # as it was before labels were a file
    if learnt is None:
        return
    if learnt.names != plan.labels.names:
        yield "its adapter was trained on other labels, or in another order, than the job's"
    elif not variant.method.is_written and learnt.words != plan.labels.words:
        yield "its adapter was trained to be read by other words of the labels than the job's"


def _other_base(variant: Variant, plan: Plan) -> Iterator[str]:
    """Yield a warning where the adapter names another base model than the job does."""
    if variant.adapter is None:
        return
    theirs = json.loads(variant.adapter.settings_text()).get("base_model_name_or_path")
    ours = plan.config.model.source
    if not isinstance(theirs, str) or not (is_on_hub(ours) or ours == BUILTIN):
        return  # a folder's name tells nothing
    if theirs and _model_name(theirs) != _model_name(ours):
        yield (
            f"its adapter says that it was trained on {harmless(theirs)}, and the model is {ours}: "
            "an adapter that fits both in size may still answer badly on the other"
        )


def _model_name(source: str) -> str:
    """Return a model's own name, whoever holds it and in how many bits."""
    return _HELD_AS.sub("", re.split(r"[/:]", source.rstrip("/"))[-1].casefold())


def _guesses_answer(variant: Variant) -> bool:
    trained, settings = variant.trained_as, variant.settings
    known = trained is not None and (trained.answer is not None or trained.method is not None)
    return settings.method == "json" and settings.answer is None and not known


def _trained_prompt(trained: Trained) -> PromptFile | None:
    """Return the prompt an adapter was trained with; its method's if it has no prompt file."""
    if trained.prompt is not None:
        return trained.prompt
    known = trained.method in known_methods()
    return method_named(trained.method).prompt() if trained.method and known else None


def _other_answer(trained: Trained, variant: Variant, labels: tuple[str, ...]) -> bool:
    learnt = trained.answer or (shipped_answer() if trained.method == "json" else None)
    if learnt is None or variant.answer is None:
        return False
    return _form(learnt, labels) != _form(variant.answer, labels)


def _form(answer: AnswerFile, labels: tuple[str, ...]) -> object:
    """Return what answers look like, without how they are generated; None for other labels."""
    try:
        return answer.form_of(labels)
    except ConfigError:
        return None


def _readers(variant: Variant, plan: Plan, sampled: Sampled) -> Iterator[str]:
    prompt = variant.prompt
    if not prompt.names_persona:
        found = len(plan.readers) or len({row["persona"] for row in sampled.good})
        if found > 1:
            yield (
                f"the prompt does not say who reads, and the records have {found} personas: all "
                "readers of an opinion get the same answer"
            )
    elif prompt.persona_first:
        readers = len(plan.readers) or _readers_of_an_opinion(sampled.good)
        factor = _factor(variant, plan, sampled, min(readers, len(plan.personas)))
        if factor > _DEARER:
            yield (
                "the persona stands before the opinion, so the engine computes the opinion anew "
                f"for each reader: with {readers} readers an opinion, {factor:.1f} times the "
                "tokens of a prompt with the persona after the opinion"
            )


def _readers_of_an_opinion(rows: list[Row]) -> int:
    opinions = {row["opinion_id"] for row in rows}
    return round(len(rows) / max(1, len(opinions)))


def _factor(variant: Variant, plan: Plan, sampled: Sampled, readers: int) -> float:
    """Return by what factor the persona's place raises the computed tokens, on some opinions."""
    if readers < 2:
        return 1.0
    _, prompter = variant.bind(sampled.tokenizer, plan.personas, plan.labels)
    some = {row["opinion_id"]: row for row in sampled.good}
    personas = list(plan.personas)[:readers]
    found = [
        sharing(prompter, row["text"], row["language"], personas)
        for row in list(some.values())[:_OPINIONS]
    ]
    moved = sum(each.moved for each in found)
    return sum(each.computed for each in found) / moved if moved else 1.0


def _languages(prompt: PromptFile, sampled: Sampled) -> Iterator[str]:
    if not prompt.spoken:
        return
    counts = Counter(row["language"] for row in sampled.good)
    foreign = Counter({each: n for each, n in counts.items() if each not in prompt.spoken})
    if foreign:
        asked = ", ".join({spoken_for(prompt.spoken, each or ""): None for each in foreign})
        yield (
            f"the prompt has no words for the language of {foreign.total():,} of "
            f"{counts.total():,} records that were looked at ({_counted(foreign)}): they are asked "
            f"in {asked}"
        )


def _foreign(plan: Plan, sampled: Sampled) -> Iterator[str]:
    """Yield a warning of records in languages that the job has no words in.

    Nothing where every prompt is worded by language: then `_languages` warns for each.
    """
    if all(variant.prompt.spoken for variant in plan.variants):
        return
    counts = Counter(row["language"] for row in sampled.good)
    foreign = Counter({each: n for each, n in counts.items() if each not in plan.languages})
    for untold in (None, ""):
        foreign.pop(untold, None)
    if foreign:
        known = ", ".join(sorted(plan.languages))
        yield (
            f"{foreign.total():,} of {counts.total():,} records that were looked at are in a "
            f"language that the job has no words in ({_counted(foreign)}; it has {known}): their "
            "readers are described in English, or as the prompt file says"
        )


def _counted(languages: Counter[str | None]) -> str:
    """Return some languages with their numbers of records, as can be shown."""
    shown: Counter[str] = Counter()
    for language, number in languages.items():
        shown[as_name(language) if language else "no language"] += number
    return some_of([f"{name} {number:,}" for name, number in shown.most_common()], _NAMED)


def _descriptions(prompt: PromptFile, plan: Plan) -> Iterator[str]:
    bare = [label.name for label in plan.labels.all if not label.description]
    if bare and prompt.describes_each_label:
        yield (
            "the prompt describes each label, and the label file has no description of "
            f"{some_of(bare, _NAMED)}"
        )
