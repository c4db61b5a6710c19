"""A fingerprint changes with all that changes a prediction, and with nothing else."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs

from medsent.answers.file import AnswerFile, shipped_answer
from medsent.answers.method import method_named
from medsent.config.job import JobConfig, VariantSettings
from medsent.config.labels import Label, Labels
from medsent.config.personas import Persona
from medsent.input.sample import Sample
from medsent.input.shard import BadShard, Shard
from medsent.input.shards import Shards
from medsent.metrics.statistics.thresholds import NEUTRAL
from medsent.models.adapter import Adapter
from medsent.models.lora import Binding
from medsent.prompts.file import PromptFile
from medsent.scoring.identity import Identity
from medsent.scoring.variant import Variant

NAMES = ("joy", "anger")
SHARD = Shard("/in/a.parquet", 900, "1", 5)
BINDING = Binding(1, ("self_attn.q_proj",), (), unnamed=True, sized=True)
TUNED = Adapter("/adapter", Path("/adapter"), "a" * 64, "b" * 64, BINDING)


def variant(name: str, method: str = "onepass", **changes: Any) -> Variant:
    known = method_named(method)
    answer = shipped_answer() if method == "json" else None
    settings = VariantSettings(method=method)
    cuts = dict.fromkeys(NAMES, NEUTRAL)
    made = Variant(name, settings, known, None, known.prompt(), "shipped", answer, cuts)
    return replace(made, **changes)


def persona(name: str = "A surgeon", description: str = "operates") -> dict[str, Persona]:
    words = {"name": {"en": name}, "description": {"en": description}}
    return {"surgeon": Persona.model_validate({"id": "surgeon", **words})}


def config(**groups: Any) -> JobConfig:
    values: dict[str, Any] = {
        "name": "job",
        "input": {"path": "/in"},
        "model": {"source": "/model"},
        "variants": {"plain": {}, "guided": {"method": "json"}},
    }
    for name, group in groups.items():
        values[name] = {**values.get(name, {}), **group} if isinstance(group, dict) else group
    return JobConfig.model_validate(values)


def shards(**changes: Any) -> Shards:
    columns = {"text": "opinion", "language": "lang", "date": "day"}
    return replace(Shards((SHARD,), fs.LocalFileSystem(), columns, (), NAMES), **changes)


PLAIN = Identity(
    config(),
    persona(),
    Labels(tuple(Label(name=name) for name in NAMES)),
    shards(),
    (variant("plain"), variant("guided", "json")),
    "0" * 64,
)


def with_variants(*variants: Variant) -> Identity:
    return replace(PLAIN, variants=variants)


ANSWER = AnswerFile(yes="tak", no="nie")
PROMPT = PromptFile(text="{opinion}")
ROUTE = {"candidate": "plain", "fallback": "guided", "share": 0.1}
OTHERS = {
    "model": replace(PLAIN, model_sha256="1" * 64),
    "dtype": replace(PLAIN, config=config(model={"dtype": "float32"})),
    "length": replace(PLAIN, config=config(model={"max_model_len": 512})),
    "quantization": replace(PLAIN, config=config(model={"quantization": "fp8"})),
    "engine": replace(PLAIN, config=config(engine={"kind": "scripted"})),
    "batches": replace(PLAIN, config=config(engine={"batch_invariant": True})),
    "options": replace(PLAIN, config=config(engine={"options": {"seed": 3}})),
    "fewer variants": with_variants(variant("plain")),
    "name": with_variants(variant("plain"), variant("other", "json")),
    "method": with_variants(variant("plain", "bits"), variant("guided", "json")),
    "answer": with_variants(variant("plain"), variant("guided", "json", answer=ANSWER)),
    "prompt": with_variants(variant("plain", prompt=PROMPT), variant("guided", "json")),
    "adapter": with_variants(variant("plain", adapter=TUNED), variant("guided", "json")),
    "weights": with_variants(
        variant("plain", adapter=replace(TUNED, sha256="c" * 64)), variant("guided", "json")
    ),
    "alpha": with_variants(
        variant("plain", adapter=replace(TUNED, settings_sha256="c" * 64)),
        variant("guided", "json"),
    ),
    "description": replace(PLAIN, personas=persona(description="cuts")),
    "labels": replace(PLAIN, labels=Labels(tuple(Label(name=name) for name in NAMES[::-1]))),
    "words": replace(PLAIN, labels=Labels((Label(name="joy", word="glad"), Label(name="anger")))),
    "columns": replace(PLAIN, shards=shards(columns={"text": "opinion"})),
    "kept": replace(PLAIN, shards=shards(kept=(pa.field("ward", pa.string()),))),
    "fan-out": replace(PLAIN, config=config(input={"fan_out": "personas"})),
    "route": replace(PLAIN, config=config(route=ROUTE)),
}
"""What decides a prediction, each changed by itself."""


def test_runs_of_before_are_found_by_their_fingerprints() -> None:
    """So that they go on under this version: where a digest changes, they are begun anew."""
    adapter = OTHERS["adapter"]
    assert (PLAIN.recipe, PLAIN.fingerprint) == ("b7eeaa8a1c2c7974", "d040065fd49c")
    assert (adapter.recipe, adapter.fingerprint) == ("1fa86540427d851d", "13c71ca07723")
    night = replace(PLAIN, config=config(night=date(2026, 1, 2), route=ROUTE), sample=Sample(9))
    assert night.fingerprint == "7f3f34a6afa7"
    grows = replace(PLAIN, config=config(input={"grows": True, "fan_out": "personas"}))
    assert (grows.fingerprint, grows.former_fingerprint) == ("42597f6cd3ca", "fe92ad94610c")


def test_what_changes_a_prediction_changes_it() -> None:
    every = [PLAIN, *OTHERS.values()]
    assert len({each.recipe for each in every}) == len(every)
    assert len({each.fingerprint for each in every}) == len(every)
    assert all(len(each.fingerprint) == 12 for each in every)


@pytest.mark.parametrize(
    "same",
    [
        replace(PLAIN, config=config(name="other", note="Synthetic.")),
        replace(PLAIN, config=config(output={"path": "elsewhere"})),
        replace(PLAIN, config=config(engine={"rows_per_block": 9, "replicas": {"max": 4}})),
        replace(PLAIN, config=config(compare=[{"baseline": "plain", "candidate": "guided"}])),
        replace(PLAIN, config=config(statistics={"slices": ["date"]})),
        with_variants(
            variant("plain", thresholds=dict.fromkeys(NAMES, 0.25)), variant("guided", "json")
        ),
        replace(PLAIN, personas=persona(name="Another name, which shipped prompts do not say")),
    ],
)
def test_the_rest_does_not(same: Identity) -> None:
    assert (same.recipe, same.fingerprint) == (PLAIN.recipe, PLAIN.fingerprint)


def test_a_persona_s_name_counts_where_a_prompt_is_not_the_one_that_ships() -> None:
    before = OTHERS["prompt"]
    assert replace(before, personas=persona(name="B")).recipe != before.recipe


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, shards=shards(files=(replace(SHARD, etag="2"),))),
        replace(PLAIN, shards=shards(files=(replace(SHARD, size_bytes=901),))),
        replace(PLAIN, shards=shards(files=(replace(SHARD, path="/in/b.parquet"),))),
        replace(PLAIN, sample=Sample(2**63)),
        replace(PLAIN, config=config(night=date(2026, 1, 2))),
    ],
)
def test_another_input_or_night_is_another_run_of_the_same_recipe(other: Identity) -> None:
    assert other.recipe == PLAIN.recipe
    assert other.fingerprint != PLAIN.fingerprint


def test_a_quarantined_shard_leaves_the_run_as_it_is() -> None:
    bad = BadShard(SHARD.path, SHARD.size_bytes, SHARD.etag, 5, "corrupt_page", "is damaged")
    assert replace(PLAIN, shards=shards(files=(), bad=(bad,))).fingerprint == PLAIN.fingerprint


def test_an_input_that_grows_is_one_run_whatever_comes() -> None:
    grows = replace(PLAIN, config=config(input={"grows": True}))
    later = replace(grows, shards=shards(files=(SHARD, replace(SHARD, path="/in/b.parquet"))))
    assert later.fingerprint == grows.fingerprint
    undated = replace(grows, shards=shards(columns={"text": "opinion", "language": "lang"}))
    assert undated.fingerprint == grows.fingerprint
    assert undated.former_fingerprint != grows.former_fingerprint


def test_a_share_makes_another_run_but_where_the_input_grows() -> None:
    def routed(share: float, **settings: Any) -> Identity:
        return replace(PLAIN, config=config(route={**ROUTE, "share": share}, input=settings))

    assert routed(0.1).recipe == routed(0.2).recipe
    assert routed(0.1).fingerprint != routed(0.2).fingerprint
    assert routed(0.1, grows=True).fingerprint == routed(0.2, grows=True).fingerprint


def test_provenance_names_what_made_the_numbers() -> None:
    tuned = replace(OTHERS["adapter"].variants[0], adapter_sha256=TUNED.sha256)
    made = with_variants(tuned, variant("guided", "json")).provenance()
    assert made["model"] == {"source": "/model", "sha256": "0" * 64}
    assert made["adapters"] == {"plain": TUNED.sha256}
    assert made["methods"] == {"plain": "onepass", "guided": "json"}
    assert list(made["prompts"]) == ["plain", "guided"]
    assert list(made["answers"]) == ["guided"]
    assert {"ray", "torch", "transformers"} <= set(made["versions"])
