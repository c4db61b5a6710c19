"""A model with the demo's adapter folded in: whole, told apart, and saying the same."""

import asyncio
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from medsent.answers.methods.onepass import OnePass
from medsent.cli import main
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.run import run_training
from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings, VariantSettings
from medsent.config.labels import LABELS, load_labels
from medsent.config.personas import load_personas
from medsent.demo.data import Split, shard_table
from medsent.engine.protocol import Completion, Request
from medsent.engine.vllm import EnginePlan, VllmEngine
from medsent.errors import AdapterError, ConfigError, MedsentError, ModelError, UsageError
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.models.hashes import sha256_file
from medsent.models.merge import PROVENANCE, merge, read_merged
from medsent.models.source import content_sha256
from medsent.prompts.file import load_prompt, shipped_prompt
from medsent.prompts.prompter import Prompter
from medsent.scoring.adapter_probe import check_effects
from medsent.scoring.plan import make_plan
from medsent.scoring.variant import open_variants
from tests.commands.training.sessions import Killed, kill_at
from tests.conftest import AdapterWriter, JobBuilder, captured, logged
from tests.plain import load_plain, plain_logits

pytestmark = pytest.mark.slow

ADAPTER = Path("medsent/demo/adapter")
ROUNDING = 0.15
"""The mean difference of a label's logit that weights in bfloat16 may make."""


@pytest.fixture(scope="module")
def merged(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with the demo's adapter, as the command makes it."""
    output = tmp_path_factory.mktemp("models") / "merged"
    given = ["--model", str(model_folder), "--adapter", str(ADAPTER), "--output", str(output)]
    with captured() as (said, complained), pytest.raises(SystemExit) as ended:
        main(["merge", *given])
    assert ended.value.code == 0, complained.getvalue()
    lines = said.getvalue().splitlines()
    assert lines[-1] == str(output)
    assert f"model: {{source: {output}}}" in lines[-3]
    assert f"thresholds: {ADAPTER.resolve()}/thresholds.json" in lines[-2]
    return output


def test_a_variant_asks_as_its_adapter_was_trained(merged: Path) -> None:
    wanted = {"merged": VariantSettings(method="onepass")}
    [variant] = open_variants(wanted, {"merged": None}, load_labels(None), merged)
    assert variant.prompt == load_prompt(ADAPTER / "prompt.yaml") == shipped_prompt("onepass")
    assert variant.prompt_from == "adapter"
    assert variant.trained_as is not None
    assert variant.trained_as.labels == load_labels(None)


def test_all_but_the_adapters_modules_stays(merged: Path, model_folder: Path) -> None:
    before = load_file(model_folder / "model.safetensors")
    after = load_file(merged / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    projections = {name for name in before if name.split(".")[-2] in {*"qkvo"} or "_proj" in name}
    assert changed == {name for name in projections if "self_attn" in name}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert json.loads((merged / name).read_text()) == json.loads(
            (model_folder / name).read_text()
        )
    assert {file.stat().st_mode & 0o777 for file in merged.iterdir()} == {0o644}
    assert [file.name for file in merged.parent.iterdir()] == ["merged"]


def test_the_sums_are_those_of_the_library(merged: Path, model_folder: Path) -> None:
    whole = load_plain(model_folder, ADAPTER).merge_and_unload(safe_merge=True).bfloat16()
    ours = load_file(merged / "model.safetensors")
    theirs = whole.state_dict()
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())


@pytest.fixture(scope="module")
def merged_wrapper(wrapped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The multimodal wrapper with the same adapter, which was trained on the text model."""
    output = tmp_path_factory.mktemp("wrappers") / "merged"
    return merge(str(wrapped_model), str(ADAPTER), str(output))


def test_a_wrapper_keeps_its_files_and_the_names_in_them(
    merged_wrapper: Path, wrapped_model: Path, merged: Path
) -> None:
    """What saving by the library does not: it gives the vision tower names of its own."""
    added = {PROVENANCE, "prompt.yaml", "labels.yaml"}
    assert {f.name for f in merged_wrapper.iterdir()} - added == {
        file.name for file in wrapped_model.iterdir()
    }
    text = load_file(merged / "model.safetensors")
    changed = 0
    for file in wrapped_model.glob("*.safetensors"):
        before, after = load_file(file), load_file(merged_wrapper / file.name)
        assert before.keys() == after.keys()
        for name, tensor in after.items():
            if "self_attn" in name and name.startswith("language_model."):
                assert tensor.equal(text[name.removeprefix("language_model.")])
                changed += not tensor.equal(before[name])
            else:
                assert tensor.equal(before[name])
    assert changed == 18 * 4
    index = "model.safetensors.index.json"
    assert (merged_wrapper / index).read_bytes() == (wrapped_model / index).read_bytes()


def test_it_says_what_it_is_made_of(merged: Path, model_folder: Path) -> None:
    made_of = read_merged(merged)
    assert made_of is not None
    assert made_of.model.sha256 == content_sha256(model_folder) != content_sha256(merged)
    assert made_of.adapter.sha256 == sha256_file(ADAPTER / "adapter_model.safetensors")
    assert made_of.adapter.settings_sha256 == sha256_file(ADAPTER / "adapter_config.json")
    assert read_merged(model_folder) is None


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[list[int]]:
    rows = shard_table("heldout", Split(opinions=4, readers=2, shards=1, seed=5), 0).to_pylist()
    prompter = Prompter(
        tokenizer, shipped_prompt("onepass"), load_personas(None), load_labels(None)
    )
    return [prompter.prompt(row["text"], row["language"], row["persona"]) for row in rows]


@pytest.fixture(scope="module")
def unmerged(model_folder: Path, tokenizer: Any, prompts: list[list[int]]) -> np.ndarray:
    """(8, 21) logits of the model with the adapter beside it."""
    ids = OnePass(tokenizer, load_labels(None)).ask.token_ids
    return plain_logits(load_plain(model_folder, ADAPTER), prompts, ids)


def assert_same_answers(ours: np.ndarray, reference: np.ndarray) -> None:
    """Compare (N, 21) logits, and the labels that the adapter's thresholds make of them."""
    thresholds = read_thresholds(ADAPTER / "thresholds.json").thresholds
    cuts = np.array([thresholds[label] for label in LABELS])
    cuts = np.log(cuts / (1 - cuts))
    differ = (ours >= cuts) != (reference >= cuts)
    assert np.abs(ours - reference).mean() < ROUNDING
    assert differ.mean() <= 0.02
    assert np.abs(reference - cuts)[differ].max(initial=0.0) < 4 * ROUNDING


@pytest.fixture(scope="module")
def further(merged_wrapper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter trained on top of the merged wrapper in 4 bits, killed and resumed."""
    folder = tmp_path_factory.mktemp("further")
    for name, seed in (("train", 7), ("validation", 8)):
        (folder / name).mkdir()
        table = shard_table(name, Split(opinions=4, readers=2, shards=1, seed=seed), 0)
        pq.write_table(table, folder / name / "part.parquet")
    settings = {
        "name": "further",
        "model": {"source": str(merged_wrapper), "quantization": "nf4"},
        "data": {"train": str(folder / "train"), "validation": str(folder / "validation")},
        "output": str(folder / "adapter"),
        "lora": {"rank": 8},
        "optimiser": {
            "opinions_per_step": 1,
            "learning_rate": 0.005,
            "checkpoints": 4,
            "evaluations": 1,
            "gradient_checkpointing": True,
        },
    }
    config = TrainingConfig.model_validate(settings)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            run_training(config)
    with logged() as lines:
        adapter = run_training(config)
    assert any("Resuming from step 2" in line for line in lines)
    return adapter


@pytest.mark.engine
def test_a_merged_wrapper_and_an_adapter_on_it_answer_so_under_the_real_engine(
    merged_wrapper: Path,
    further: Path,
    tokenizer: Any,
    prompts: list[list[int]],
    unmerged: np.ndarray,
) -> None:
    settings = VllmSettings(device="cpu", kv_cache_gib=1)
    model = ModelSettings(source=str(merged_wrapper), max_model_len=1024)
    adapters = {"further": str(further)}
    engine = VllmEngine(EnginePlan(str(merged_wrapper), settings, model, adapters, written=False))
    ask = OnePass(tokenizer, load_labels(None)).ask
    prompter = Prompter(
        tokenizer, shipped_prompt("onepass"), load_personas(None), load_labels(None)
    )
    wanted = [(prompt, None) for prompt in prompts] + [
        (prompt, "further") for prompt in prompts[:2]
    ]

    async def answers() -> list[Completion]:
        await check_effects(engine, {"further": prompter})
        return await asyncio.gather(*(engine.complete(Request(p, ask, v)) for p, v in wanted))

    try:
        found = asyncio.run(answers())
    finally:
        engine.close()
    *labels, none = ask.token_ids
    logits = [[each.logprobs[0][t] - each.logprobs[0][none] for t in labels] for each in found]
    assert_same_answers(np.array(logits[: len(prompts)]), unmerged)
    tuned = plain_logits(load_plain(merged_wrapper, further), prompts[:2], ask.token_ids)
    assert np.abs(np.array(logits[-2:]) - tuned).mean() < ROUNDING
    assert np.abs(tuned - unmerged[:2]).mean() > 2 * ROUNDING


def test_thresholds_of_the_adapter_hold_for_it(
    job: JobBuilder, merged: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    def plan(thresholds: Path, **variant: str) -> Any:
        variants = {"merged": {"thresholds": str(thresholds), **variant}}
        return make_plan(job(model={"source": str(merged)}, variants=variants))

    made = plan(ADAPTER / "thresholds.json")
    assert made.variants[0].thresholds == read_thresholds(ADAPTER / "thresholds.json").thresholds
    weights = sha256_file(ADAPTER / "adapter_model.safetensors")
    # What `medsent thresholds` writes of a run with it is then the adapter's as well.
    assert made.provenance()["adapters"] == {"merged": weights}
    with pytest.raises(ConfigError, match="was tuned for the base model"):
        plan(ADAPTER / "thresholds-baseline.json")
    with pytest.raises(AdapterError, match=r"has .* in it already; take the setting out"):
        plan(ADAPTER / "thresholds.json", adapter=str(ADAPTER))


def refused(kind: type[MedsentError], told: str, *given: object) -> None:
    with pytest.raises(kind, match=told):
        merge(*map(str, given))  # type: ignore[arg-type]


def test_what_cannot_be_merged_is_refused(
    merged: Path, model_folder: Path, write_adapter: AdapterWriter, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    refused(UsageError, "is there already", model_folder, ADAPTER, merged)
    refused(UsageError, "no folder of this machine", model_folder, ADAPTER, "s3://bucket/out")
    refused(ModelError, "in it; give the base model", merged, ADAPTER, output)
    wide = write_adapter(tmp_path / "wide", shape=(4096, 3840))
    refused(AdapterError, "^--adapter: .*another model", model_folder, wide, output)
    quantised = tmp_path / "quantised"
    quantised.mkdir()
    (quantised / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    refused(ModelError, "are quantised; merge, then quantise", quantised, ADAPTER, output)
    (merged / PROVENANCE).rename(tmp_path / "kept")
    (merged / PROVENANCE).write_text("{")
    try:
        refused(ModelError, "is damaged; merge model and adapter again", merged, ADAPTER, output)
    finally:
        (tmp_path / "kept").rename(merged / PROVENANCE)
    assert not list(tmp_path.glob("*out*"))


def test_a_damaged_index_is_named(wrapped_model: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(wrapped_model, tmp_path / "damaged", copy_function=os.symlink)
    (damaged / "model.safetensors.index.json").unlink()
    (damaged / "model.safetensors.index.json").write_text('{"weight_map": []}')
    refused(ModelError, "index.json is damaged; fetch", damaged, ADAPTER, tmp_path / "out")


def test_an_adapter_under_a_wrappers_names_is_merged_all_the_same(
    merged: Path, model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ADAPTER, other)
    tensors = load_file(ADAPTER / "adapter_model.safetensors")
    renamed = {
        n.replace(".model.layers.", ".language_model.model.layers."): tensors[n] for n in tensors
    }
    save_file(renamed, other / "adapter_model.safetensors")
    again = merge(str(model_folder), str(other), str(tmp_path / "out"))
    assert sha256_file(again / "model.safetensors") == sha256_file(merged / "model.safetensors")


def test_what_fails_midway_leaves_nothing(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, _: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("medsent.models.merge.shutil.copy", full)
    with pytest.raises(OSError, match="No space left"):
        merge(str(model_folder), str(ADAPTER), str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())
