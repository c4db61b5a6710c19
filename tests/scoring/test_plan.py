"""A plan's fingerprint changes with all that changes a prediction, and with nothing else."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.config.engine import VllmSettings
from medsent.config.loader import yaml_text
from medsent.engine.vllm import arguments_of
from medsent.errors import ConfigError
from medsent.labels import LABELS
from medsent.models.hashes import sha256_file
from medsent.prompts.file import shipped_prompt
from medsent.scoring.plan import make_plan
from tests.conftest import AdapterWriter, JobBuilder


@pytest.fixture
def thresholds(tmp_path: Path) -> Path:
    """A thresholds file for `onepass`."""
    file = tmp_path / "thresholds.json"
    tuned_on = {"data_digest": "0", "opinions": 1, "records": 1, "opinion_hashes": ""}
    values = {
        "method": "onepass",
        "adapter_sha256": None,
        "thresholds": dict.fromkeys(LABELS, 0.25),
        "tuned_on": tuned_on,
    }
    file.write_text(json.dumps(values))
    return file


def fingerprint(job: JobBuilder, **groups: Any) -> str:
    return make_plan(job(**groups), lambda _: None).fingerprint


def test_what_changes_a_prediction_changes_it(
    job: JobBuilder, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    readers = tmp_path / "readers.yaml"
    reader = {"id": "surgeon", "name": {"en": "S"}, "description": {"en": "another"}}
    readers.write_text(yaml.safe_dump([reader]))
    adapters = [
        str(write_adapter(tmp_path / f"{rank}-{alpha}", rank=rank, lora_alpha=alpha))
        for rank, alpha in ((1, 1), (2, 1), (2, 8))
    ]
    changes: list[dict[str, Any]] = [
        {},
        {"personas": str(readers)},
        {"model": {"dtype": "float32"}},
        {"model": {"max_model_len": 512}},
        {"model": {"quantization": "fp8"}},
        {"variants": {"plain": {"method": "bits"}}},
        {"variants": {"other": {"method": "onepass"}}},
        *({"variants": {"plain": {"adapter": adapter}}} for adapter in adapters),
        {"input": {"columns": {"persona": None}}},
        {"input": {"keep": ["truth"]}},
    ]
    found = [fingerprint(job, **change) for change in changes]
    assert len(set(found)) == len(found)
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in found)


def test_the_rest_does_not(job: JobBuilder, thresholds: Path, tmp_path: Path) -> None:
    first = fingerprint(job)
    for change in (
        {"name": "other"},
        {"note": "Synthetic."},
        {"output": {"path": str(tmp_path / "elsewhere")}},
        {"engine": {"rows_per_block": 99, "latency_s": 0.5, "replicas": {"max": 4}}},
        {"variants": {"plain": {"thresholds": str(thresholds)}}},
        {"compare": [{"baseline": "plain", "candidate": "plain"}]},
        {"statistics": {"slices": ["date"]}},
    ):
        assert fingerprint(job, **change) == first


def test_a_copied_adapter_is_the_same_adapter(
    job: JobBuilder, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    here = write_adapter(tmp_path / "here")
    there = shutil.copytree(here, tmp_path / "there")
    found = {fingerprint(job, variants={"a": {"adapter": str(f)}}) for f in (here, there)}
    assert len(found) == 1


def test_a_prompt_beside_the_adapter_counts_where_it_is_not_the_one_that_ships(
    job: JobBuilder, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    """So a run of an adapter from before goes on when the prompt is put beside it."""
    adapter = write_adapter(tmp_path / "adapter")
    variants = {"a": {"adapter": str(adapter)}}
    first = fingerprint(job, variants=variants)
    (adapter / "prompt.yaml").write_text(yaml_text(shipped_prompt("onepass").content()))
    assert fingerprint(job, variants=variants) == first
    (adapter / "prompt.yaml").write_text("text: '{persona.name}: {opinion}'")
    assert fingerprint(job, variants=variants) != first


def test_a_shard_written_again_is_another_input(
    job: JobBuilder, demo_shard: Path, tmp_path: Path
) -> None:
    shard = tmp_path / "in" / "a.parquet"
    shard.parent.mkdir()
    shutil.copy2(demo_shard, shard)
    first = fingerprint(job, input={"path": str(shard.parent)})
    assert fingerprint(job, input={"path": str(shard)}) == first
    os.utime(shard, (1, 1))
    assert fingerprint(job, input={"path": str(shard.parent)}) != first


def test_thresholds_are_read_with_the_plan(job: JobBuilder, thresholds: Path) -> None:
    config = job(variants={"tuned": {"thresholds": str(thresholds)}, "plain": {}})
    tuned, plain = make_plan(config, lambda _: None).variants
    assert set(tuned.thresholds.values()) == {0.25}
    assert set(plain.thresholds.values()) == {0.5}


def test_thresholds_of_another_adapter_are_refused(
    job: JobBuilder, thresholds: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    adapter = str(write_adapter(tmp_path / "a"))
    config = job(variants={"tuned": {"adapter": adapter, "thresholds": str(thresholds)}})
    with pytest.raises(ConfigError, match="was tuned for the base model"):
        make_plan(config, lambda _: None)
    values = {**json.loads(thresholds.read_text()), "adapter_sha256": "0" * 64}
    thresholds.write_text(json.dumps(values))
    for variant in ({"adapter": adapter}, {}):
        config = job(variants={"tuned": {**variant, "thresholds": str(thresholds)}})
        with pytest.raises(ConfigError, match=r"variants\.tuned\.thresholds: .* another adapter"):
            make_plan(config, lambda _: None)
    values["adapter_sha256"] = sha256_file(Path(adapter) / "adapter_model.safetensors")
    thresholds.write_text(json.dumps(values))
    config = job(variants={"tuned": {"adapter": adapter, "thresholds": str(thresholds)}})
    assert set(make_plan(config, lambda _: None).variants[0].thresholds.values()) == {0.25}


@pytest.mark.parametrize("method", ["bits", "json"])
def test_thresholds_of_another_method_are_refused(
    job: JobBuilder, thresholds: Path, method: str
) -> None:
    config = job(variants={"a": {"method": method, "thresholds": str(thresholds)}})
    with pytest.raises(ConfigError, match=f"method onepass, and the variant's method is {method}"):
        make_plan(config, lambda _: None)


def test_the_engine_is_told_what_its_adapters_change(
    job: JobBuilder, write_adapter: AdapterWriter, model_folder: Path, tmp_path: Path
) -> None:
    layer = "base_model.model.model.layers.0"
    up, query = (
        str(write_adapter(tmp_path / name, module=f"{layer}.{name}", shape=shape))
        for name, shape in (("mlp.up_proj", (2048, 640)), ("self_attn.q_proj", (1024, 640)))
    )
    variants: dict[str, Any] = {"plain": {}, "a": {"adapter": up}, "b": {"adapter": query}}
    config = job(variants=variants, model={"source": str(model_folder)})
    plan = make_plan(config, lambda _: None)
    settings = VllmSettings(device="cpu")
    engine = plan.engine_plan(settings, model_folder)
    assert arguments_of(engine)["lora_target_modules"] == ["q_proj", "up_proj"]
    own = VllmSettings(device="cpu", options={"lora_target_modules": None})
    assert arguments_of(replace(engine, settings=own))["lora_target_modules"] is None


def test_provenance_names_what_made_the_numbers(
    job: JobBuilder, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    config = job(variants={"plain": {}, "tuned": {"adapter": str(write_adapter(tmp_path / "a"))}})
    plan = make_plan(config, lambda _: None)
    made = plan.provenance()
    assert made["model"]["sha256"] == plan.model_sha256
    assert list(made["adapters"]) == ["tuned"]
    assert made["methods"] == {"plain": "onepass", "tuned": "onepass"}
    assert made["input"] == plan.shards.listing()
    assert {"ray", "torch", "transformers"} <= set(made["versions"])
