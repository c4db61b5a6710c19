"""What a job comes to, settled and checked before any engine starts."""

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from medsent.config.engine import VllmSettings
from medsent.config.job import JobConfig
from medsent.config.labels import load_labels
from medsent.config.personas import load_personas
from medsent.engine.quantization import Quantization, check_quantization
from medsent.engine.text_model import read_config, text_class
from medsent.engine.vllm import EnginePlan, has_gpu
from medsent.errors import ConfigError, ModelError
from medsent.input.gold_sample import sample_gold
from medsent.input.sample import make_sample
from medsent.input.shard import BadShard, Shard
from medsent.input.shards import Shards, open_shards, refusal
from medsent.metrics.leakage import refuse_input
from medsent.metrics.statistics.thresholds import TunedOn
from medsent.models.served import kernel_targets, refuse_unserved
from medsent.models.source import (
    content_marks,
    content_sha256,
    is_on_hub,
    load_tokenizer,
    resolve_model,
)
from medsent.models.weights import refuse_incomplete
from medsent.prompts.languages import languages_of
from medsent.scoring.identity import Identity
from medsent.scoring.variant import Variant, open_thresholds, open_variants

_BLOCKS_EACH = 4
"""At least so many blocks for each engine: the last one to end is then a quarter of its work."""
_LEAST_IN_A_BLOCK = 16
"""The fewest records in a block, since each is a file: those of one opinion by 16 personas."""


@dataclass(frozen=True)
class Plan(Identity):
    """A job that can run: everything it names exists and fits."""

    model_copy: str | None = None
    """The name of what was fetched, where the model lies in object storage."""
    model_marks: dict[str, tuple[int, int]] | None = None
    """Size and time of change of the model's files where the plan was made."""
    quantization: Quantization | None = None
    """How the model's weights are held in fewer bits; None where they are not."""
    longest_text: int | None = None
    """The most characters that a prompt could ever hold; longer texts are too long."""
    rows_of_run: int | None = None
    """Input rows per block of a run that has begun, which keeps them; None for one that has not."""

    @cached_property
    def languages(self) -> frozenset[str]:
        """Languages that personas, labels or prompts are worded in.

        Opinions in other languages are read as if in English.
        """
        prompts = [variant.prompt for variant in self.variants]
        return languages_of(self.personas.values(), self.labels, prompts)

    @property
    def records_per_block(self) -> int:
        """Records in one unit of work: as set, or fewer where the engines would lack blocks."""
        engine = self.config.engine
        if self.rows_of_run is not None:
            return self.rows_of_run * max(1, len(self.readers))
        # The first shards of an input that grows tell nothing of those to come.
        if engine.replicas.max == 1 or self.config.input.joins:
            return engine.rows_per_block
        share = math.ceil(self.records / (_BLOCKS_EACH * engine.replicas.max))
        return min(engine.rows_per_block, max(_LEAST_IN_A_BLOCK, share))

    @property
    def rows_per_block(self) -> int:
        """Input rows in one unit of work."""
        return max(1, self.records_per_block // max(1, len(self.readers)))

    @property
    def answers_per_record(self) -> int:
        """How many answers a record takes, but for those that a fallback gives."""
        return 1 if self.config.route else len(self.variants)

    @property
    def records(self) -> int:
        """How many records the readable shards come to."""
        return sum(self.due(file) or 0 for file in self.shards.files)

    def due(self, shard: Shard | BadShard) -> int | None:
        """Return how many records a shard comes to; None where its rows are not known."""
        if shard.rows is None:
            return None
        taken = self.sample.taken.get(shard.path) if self.sample else None
        return (shard.rows if taken is None else sum(taken)) * max(1, len(self.readers))

    def groups(self, shard: Shard) -> tuple[int, ...]:
        """Return the rows that are taken of each row group of a shard."""
        return self.sample.taken[shard.path] if self.sample else shard.groups

    def for_worker(self) -> "Plan":
        """Return what a scorer needs of the plan: it knows of no shard, however many there are."""
        sample = self.sample and self.sample.chosen()
        return replace(self, shards=self.shards.without_files(), sample=sample)

    def holds(self, shards: Shards) -> bool:
        """Tell whether it is known which rows the sample takes of each of these shards."""
        return self.sample is None or all(file.path in self.sample.taken for file in shards.files)

    def over(self, shards: Shards) -> "Plan":
        """Return the plan with some of its shards quarantined; its fingerprint stays."""
        return replace(self, shards=shards)

    def among(self, shards: Shards) -> "Plan":
        """Return the plan of these shards, as it was before the others were in the input."""
        sample, unread = make_sample(self.config.input, shards)
        return replace(self, shards=shards.without(unread), sample=sample)

    def model_on_this_node(self) -> Path:
        """Return the model's folder on the machine that calls, fetched there if need be.

        Raises `ModelError` where its content is not what the plan was made with.
        """
        model = self.config.model
        folder = resolve_model(model.source, model.revision)
        if self.model_copy not in (None, folder.name):
            raise ModelError(
                f"model.source: {model.source} was rewritten since the job began; give the new one "
                "another name"
            )
        # The files are hashed only if sizes or times differ, as on a disk of the node's own.
        if self.model_marks in (None, content_marks(folder)):
            return folder
        if content_sha256(folder) != self.model_sha256:
            raise ModelError(
                f"model.source: {model.source} has another content on {platform.node()} than where "
                "the job began; every node needs the same files, and none may change while it runs"
            )
        return folder

    def engine_plan(self, settings: VllmSettings, model_folder: Path) -> EnginePlan:
        """Return what an actor needs to start vLLM on its node."""
        adapters = {v.name: v.adapter for v in self.variants if v.adapter}
        return EnginePlan(
            str(model_folder),
            settings,
            self.config.model,
            {name: str(adapter.on_this_node()) for name, adapter in adapters.items()},
            written=any(v.method.is_written for v in self.variants),
            lora_targets=kernel_targets(adapters.values()),
        )


def make_plan(config: JobConfig) -> Plan:
    """Open and check everything a job names, cheapest first.

    Raises `ConfigError`, `InputError`, `ModelError` or `AdapterError` that names what is wrong.
    """
    personas = load_personas(config.personas)
    labels = load_labels(config.labels)
    _refuse_unknown_margins(config, labels.names)
    tuned = {name: open_thresholds(settings) for name, settings in config.variants.items()}
    shards = open_shards(config.input, labels.names)
    sample_gold(shards).refuse()
    folder = resolve_model(config.model.source, config.model.revision)
    config = _pinned(config, folder)
    if isinstance(config.engine, VllmSettings):
        text_class(read_config(folder), config.engine.options)
    variants = open_variants(config.variants, tuned, labels, folder)
    config = _with_commits(config, variants)
    tokenizer = load_tokenizer(folder)
    for variant in variants:
        method, _ = variant.bind(tokenizer, personas, labels)
        _refuse_no_room(config, variant.name, method.room)
    refuse_unserved(config.engine, {v.name: v.adapter for v in variants if v.adapter}, folder)
    refuse_input(shards, _tuned_on(variants))
    if isinstance(config.engine, VllmSettings) and "load_format" not in config.engine.options:
        refuse_incomplete(folder)
    sample, unread = make_sample(config.input, shards)
    if unread and config.input.on_bad_shard == "fail":
        raise refusal(unread, some_are_good=True)
    shards = shards.without(unread)
    copy = folder.name if "://" in config.model.source else None
    marks = content_marks(folder)  # before hashing, so that a file rewritten meanwhile is noticed
    sha256 = content_sha256(folder)
    held = _quantization(config, variants, folder)
    longest = config.model.max_model_len * max(map(len, tokenizer.get_vocab()))
    return Plan(
        config, personas, labels, shards, variants, sha256, sample, copy, marks, held, longest
    )


def _refuse_unknown_margins(config: JobConfig, labels: Sequence[str]) -> None:
    for name in config.statistics.label_margins:
        if name not in labels:
            raise ConfigError(
                f"statistics.label_margins names {name!r}, which is no label of this job "
                f"({', '.join(labels)})"
            )


def _pinned(config: JobConfig, folder: Path) -> JobConfig:
    """Return the settings with the hub's commit, the name of a snapshot's folder, in them.

    So every node, and any job that continues the run, uses this commit even if a newer one exists.
    """
    if not is_on_hub(config.model.source):
        return config
    model = config.model.model_copy(update={"revision": folder.name})
    return config.model_copy(update={"model": model})


def _with_commits(config: JobConfig, variants: tuple[Variant, ...]) -> JobConfig:
    """Return the settings with the commits of the hub's adapters in them, as `_pinned` does."""
    commits = {v.name: v.adapter.revision for v in variants if v.adapter and v.adapter.revision}
    pinned = {
        name: each.model_copy(update={"revision": commits[name]}) if name in commits else each
        for name, each in config.variants.items()
    }
    return config.model_copy(update={"variants": pinned})


def _refuse_no_room(config: JobConfig, variant: str, room: int) -> None:
    """Refuse answers so long that no prompt could stand beside one."""
    limit = config.model.max_model_len
    if room >= limit:
        raise ConfigError(
            f"variants.{variant}: {room} tokens are left free for an answer, and "
            f"model.max_model_len is {limit} for prompt and answer together, so that every record "
            "would be too_long; raise that, or lower sampling.max_tokens"
        )


def _tuned_on(variants: tuple[Variant, ...]) -> dict[str, TunedOn]:
    """Return thresholds file to what it was tuned on."""
    return {
        variant.settings.thresholds: variant.tuned_on
        for variant in variants
        if variant.settings.thresholds and variant.tuned_on
    }


def _quantization(
    config: JobConfig, variants: tuple[Variant, ...], folder: Path
) -> Quantization | None:
    engine = config.engine
    if not isinstance(engine, VllmSettings):
        return None
    # On a cluster the engines' machines may have what this one lacks.
    here = not os.environ.get("RAY_ADDRESS")
    on_cpu = here and (engine.device == "cpu" or (engine.device == "auto" and not has_gpu()))
    adapters = any(variant.adapter for variant in variants)
    return check_quantization(config.model, engine, folder, on_cpu=on_cpu, adapters=adapters)
