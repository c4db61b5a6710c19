"""What a plan opens: adapters, the prompts beside them, thresholds, shards."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsent.config.engine import VllmSettings
from medsent.config.labels import LABELS
from medsent.config.loader import yaml_text
from medsent.engine.vllm import arguments_of
from medsent.errors import ConfigError
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
    return make_plan(job(**groups)).fingerprint


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
    tuned, plain = make_plan(config).variants
    assert set(tuned.thresholds.values()) == {0.25}
    assert set(plain.thresholds.values()) == {0.5}


def test_margins_of_unknown_labels_are_refused(job: JobBuilder) -> None:
    make_plan(job(statistics={"label_margins": {"anger": 0.05}}))
    with pytest.raises(ConfigError, match=r"statistics\.label_margins names 'angst', which is no"):
        make_plan(job(statistics={"label_margins": {"angst": 0.05}}))


def test_thresholds_of_another_adapter_are_refused(
    job: JobBuilder, thresholds: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    adapter = str(write_adapter(tmp_path / "a"))
    config = job(variants={"tuned": {"adapter": adapter, "thresholds": str(thresholds)}})
    with pytest.raises(ConfigError, match="was tuned for the base model"):
        make_plan(config)
    values = {**json.loads(thresholds.read_text()), "adapter_sha256": "0" * 64}
    thresholds.write_text(json.dumps(values))
    for variant in ({"adapter": adapter}, {}):
        config = job(variants={"tuned": {**variant, "thresholds": str(thresholds)}})
        with pytest.raises(ConfigError, match=r"variants\.tuned\.thresholds: .* another adapter"):
            make_plan(config)
    values["adapter_sha256"] = sha256_file(Path(adapter) / "adapter_model.safetensors")
    thresholds.write_text(json.dumps(values))
    config = job(variants={"tuned": {"adapter": adapter, "thresholds": str(thresholds)}})
    assert set(make_plan(config).variants[0].thresholds.values()) == {0.25}


@pytest.mark.parametrize("method", ["bits", "json"])
def test_thresholds_of_another_method_are_refused(
    job: JobBuilder, thresholds: Path, method: str
) -> None:
    config = job(variants={"a": {"method": method, "thresholds": str(thresholds)}})
    with pytest.raises(ConfigError, match=f"method onepass, and the variant's method is {method}"):
        make_plan(config)


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
    plan = make_plan(config)
    settings = VllmSettings(device="cpu")
    engine = plan.engine_plan(settings, model_folder)
    assert arguments_of(engine)["lora_target_modules"] == ["q_proj", "up_proj"]
    own = VllmSettings(device="cpu", options={"lora_target_modules": None})
    assert arguments_of(replace(engine, settings=own))["lora_target_modules"] is None
