"""An adapter's folder is checked against the model without an engine."""

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors

from medsent.errors import AdapterError
from medsent.models.adapter import open_adapter
from medsent.models.hashes import sha256_file
from medsent.models.modules import NAMINGS
from tests.conftest import AdapterWriter
from tests.models.checkpoints import STORED, TEXT, WRAPPER, write_model

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def refused(folder: Path, model: Path) -> str:
    with pytest.raises(AdapterError) as caught:
        open_adapter("tuned", str(folder), model)
    message = str(caught.value)
    assert message.startswith(f"variants.tuned.adapter: {folder.resolve()}")
    return message


def test_one_that_fits(tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=3)
    adapter = open_adapter("tuned", str(folder), model_folder)
    assert adapter.folder == folder.resolve()
    assert adapter.rank == 3
    assert adapter.sha256 == sha256_file(folder / "adapter_model.safetensors")


def test_one_that_was_rewritten_since(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path
) -> None:
    folder = write_adapter(tmp_path / "a", rank=3)
    adapter = open_adapter("tuned", str(folder), model_folder)
    assert adapter.on_this_node() == folder.resolve()
    write_adapter(folder, rank=2)
    with pytest.raises(AdapterError, match="was rewritten since the job began"):
        adapter.on_this_node()
    (folder / "adapter_config.json").unlink()
    with pytest.raises(AdapterError, match="is not on every node: No such file"):
        adapter.on_this_node()


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("base_model.model.model.", "the text model"),
        ("base_model.model.model.language_model.", "the multimodal model under transformers 5's"),
        ("base_model.model.language_model.model.", "the multimodal model under older names"),
        ("base_model.model.model.text_model.", "the multimodal model, whose text model is called"),
        ("model.", "the text model"),
        ("model.language_model.", "the multimodal model under transformers 5's names"),
    ],
)
@pytest.mark.parametrize("half", ["weight", "default.weight", "my-own.v2.weight"])
def test_one_of_any_names_fits_and_they_say_what_it_was_trained_on(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    told: str,
    half: str,
) -> None:
    folder = write_adapter(tmp_path / "a", module=f"{before}layers.17.self_attn.q_proj")
    rename(folder, {".weight": f".{half}"})
    adapter = open_adapter("tuned", str(folder), model_folder)
    binding = adapter.binding
    assert binding.trained_on.startswith(told)
    assert binding.unnamed is (half == "weight")
    assert binding.targets == ("self_attn.q_proj",)
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        here = adapter.on_this_node()
        assert (here == folder) is (half == "weight")
        assert open_adapter("tuned", str(here), model_folder).binding.unnamed


@pytest.mark.parametrize("before", ["base_model.model.", ""])
def test_one_of_a_model_without_its_head_gets_the_names_that_vllm_knows(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "cache"))
    folder = write_adapter(tmp_path / "a", module=f"{before}layers.1.self_attn.q_proj")
    adapter = open_adapter("tuned", str(folder), model_folder)
    assert adapter.binding.trained_on == "the text model without its head (AutoModel)"
    assert set(load_file(adapter.on_this_node() / "adapter_model.safetensors")) == {
        f"{before}model.layers.1.self_attn.q_proj.lora_{half}.weight" for half in "AB"
    }


def test_a_renamed_copy_that_fails_leaves_nothing(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "cache"))
    folder = write_adapter(tmp_path / "a")
    rename(folder, {".weight": ".default.weight"})
    adapter = open_adapter("tuned", str(folder), model_folder)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("medsent.models.adapter.shutil.copy", full)
    with pytest.raises(OSError, match="No space left"):
        adapter.on_this_node()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def rename(folder: Path, changes: dict[str, str]) -> None:
    """Replace parts of the names of an adapter's tensors."""
    weights = folder / "adapter_model.safetensors"
    found = load_file(weights)
    for old, new in changes.items():
        found = {name.replace(old, new): tensor for name, tensor in found.items()}
    save_file(found, weights)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(
    ("config", "before"),
    [(TEXT, "model."), (WRAPPER, "language_model.model."), (WRAPPER, "model.language_model.")],
    ids=["text", "hub's wrapper", "wrapper of transformers 5"],
)
def test_one_fits_whatever_the_models_names_and_however_its_weights_are_stored(
    tmp_path: Path, write_adapter: AdapterWriter, config: dict[str, Any], before: str, stored: str
) -> None:
    model = write_model(tmp_path / "model", config, f"{before}layers.0.self_attn.q_proj", stored)
    for prefix in NAMINGS:
        name = f"base_model.model.{prefix}layers.0.self_attn.q_proj"
        folder = write_adapter(tmp_path / (prefix or "bare"), module=name, shape=(16, 8))
        assert open_adapter("tuned", str(folder), model).binding.sized
    folder = write_adapter(tmp_path / "wide", module=name, shape=(16, 12))
    assert "is 16x12, the model's is 16x8" in refused(folder, model)
    folder = write_adapter(tmp_path / "deep", module=name.replace(".0.", ".1."), shape=(16, 8))
    assert "layers.1.self_attn.q_proj, which the model does not have" in refused(folder, model)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (
            "base_model.model.model.layers.18.self_attn.q_proj",
            "layers.18.self_attn.q_proj, which the model does not have; it was trained for another",
        ),
        (
            "base_model.model.model.layers.0.attention.wq",
            "layers.0.attention.wq, which the model does not have",
        ),
        ("base_model.model.q_proj", "q_proj, which the model does not have"),
        (
            "base_model.model.vision_tower.layers.0.self_attn.q_proj",
            "its text layers: it is of the part for images or sounds",
        ),
        (
            "base_model.model.model.visual.blocks.0.attn.qkv",
            "its text layers: it is of the part for images or sounds",
        ),
        (
            "base_model.model.multi_modal_projector.linear_1",
            "its text layers: it is of the part for images or sounds",
        ),
        (
            "base_model.model.module.model.layers.0.self_attn.q_proj",
            "which the model does not have under that name; load the adapter with peft",
        ),
        ("base_model.model.lm_head", "lm_head, which belongs to the model's"),
        ("base_model.model.model.embed_tokens", "embed_tokens, which belongs to the model's"),
    ],
)
def test_targets_that_match_nothing(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, module: str, told: str
) -> None:
    assert told in refused(write_adapter(tmp_path, module=module), model_folder)


def test_a_towers_layer_is_refused_though_the_checkpoint_has_it(
    tmp_path: Path, write_adapter: AdapterWriter
) -> None:
    tower = "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
    weights = {f"{tower}.weight": ("bfloat16", [16, 8])}
    text = "language_model.model.layers.0.self_attn.q_proj"
    model = write_model(tmp_path / "model", WRAPPER, text, **weights)
    folder = write_adapter(tmp_path / "a", module=f"base_model.model.{tower}", shape=(16, 8))
    assert "part for images or sounds" in refused(folder, model)


@pytest.mark.parametrize("shape", [(1024, 3840), (4096, 640), (640, 1024)])
def test_another_shape(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, shape: tuple[int, int]
) -> None:
    message = refused(write_adapter(tmp_path, shape=shape), model_folder)
    assert f"is {shape[0]}x{shape[1]}, the model's is 1024x640" in message


def test_zeros(tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path) -> None:
    message = refused(write_adapter(tmp_path, zero=True), model_folder)
    assert "changes nothing: every lora_B is zero" in message


def test_a_folder_that_is_not_there(tmp_path: Path, model_folder: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "gone", model_folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[" * 100_000, "is not valid JSON in UTF-8"),
        (codecs.BOM_UTF8 + b"{}", "is not valid JSON in UTF-8"),
        ("{}".encode("utf-16"), "is not valid JSON in UTF-8"),
        (b"", "no readable adapter_config.json"),
        (b"[]", "adapter_config.json holds no settings but a list"),
        (b"{}", "the rank (r) in adapter_config.json is missing"),
        (b'{"r": null}', "is None, no whole number"),
        (b'{"r": 8.0}', "the rank (r) in adapter_config.json is 8.0, no whole number"),
    ],
    ids=["too deep", "BOM", "UTF-16", "empty", "list", "no rank", "null", "no whole rank"],
)
def test_what_is_wrong_with_a_configuration_is_said(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, content: bytes, told: str
) -> None:
    folder = write_adapter(tmp_path)
    (folder / "adapter_config.json").write_bytes(content)
    assert told in refused(folder, model_folder)


def test_one_in_several_files_is_called_sharded(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path
) -> None:
    shard = "adapter_model-00001-of-00002.safetensors"
    folder = write_adapter(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / shard)
    assert f"is sharded: it has no whole adapter_model.safetensors but {shard}" in refused(
        folder, model_folder
    )


@pytest.mark.parametrize("keep_bytes", [0, 3, 200, -1])
def test_broken_weights(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, keep_bytes: int
) -> None:
    weights = write_adapter(tmp_path) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep_bytes])
    assert "no whole adapter_model.safetensors" in refused(tmp_path, model_folder)
    weights.unlink()
    assert "no whole adapter_model.safetensors" in refused(tmp_path, model_folder)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({f"{LAYER}.lora_A.weight": (2, 640)}, "lacks one half of layers.0.self_attn.q_proj"),
        ({f"{LAYER}.weight": (2, 640)}, "which is no LoRA pair"),
        ({}, "holds no tensors"),
        ({f"{LAYER}.lora_A.weight": (0,)}, "lora_A.weight is empty (its shape is [0])"),
        ({f"{LAYER}.lora_B.weight": (1024,)}, "lora_B.weight is no matrix"),
        (
            {f"{LAYER}.lora_A.weight": (2, 640), f"{LAYER}.lora_B.weight": (1024, 3)},
            "layers.0.self_attn.q_proj have ranks 2 and 3",
        ),
        (
            {f"{LAYER}.lora_A.weight": (4, 640), f"{LAYER}.lora_B.weight": (1024, 4)},
            "has rank 4, adapter_config.json says 2",
        ),
        ({f"{LAYER}.lora_B.bias": (1024,)}, "has a bias (lora_bias)"),
        ({f"{LAYER}.lora_magnitude_vector": (1024,)}, "is of DoRA"),
        (
            {"base_model.model.model.embed_tokens.lora_embedding_A": (2, 9)},
            "changes the model's vocabulary",
        ),
        (
            {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": (2, 640)},
            "changes the model's vocabulary",
        ),
        ({"base_model.model.lm_head.weight": (9, 640)}, "changes the model's vocabulary"),
        ({"base_model.model.score.weight": (2, 640)}, "(modules_to_save) is not served"),
    ],
)
def test_tensors_that_are_no_whole_pairs(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    tensors: dict[str, tuple[int, ...]],
    told: str,
) -> None:
    folder = write_adapter(tmp_path)
    made = {name: np.ones(shape, np.float32) for name, shape in tensors.items()}
    save_file(made, folder / "adapter_model.safetensors")
    assert told in refused(folder, model_folder)


def test_a_module_under_two_names_is_refused(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path
) -> None:
    weights = write_adapter(tmp_path) / "adapter_model.safetensors"
    found = load_file(weights)
    twin = {
        name.replace("model.layers", "language_model.model.layers"): found[name] for name in found
    }
    save_file({**found, **{name: tensor.copy() for name, tensor in twin.items()}}, weights)
    assert "layers.0.self_attn.q_proj twice" in refused(tmp_path, model_folder)
    other = {name.replace(".weight", ".other.weight"): found[name].copy() for name in found}
    save_file({**found, **other}, weights)
    assert "layers.0.self_attn.q_proj twice; write one" in refused(tmp_path, model_folder)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("half", ["lora_A", "lora_B"])
def test_a_single_number_that_is_none(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    kind: str,
    value: float,
    half: str,
) -> None:
    weights = write_adapter(tmp_path) / "adapter_model.safetensors"
    found = {n: torch.from_numpy(t).to(getattr(torch, kind)) for n, t in load_file(weights).items()}
    save_tensors(found, weights)
    assert open_adapter("tuned", str(tmp_path), model_folder)
    found[f"{LAYER}.{half}.weight"][1, 1] = value
    save_tensors(found, weights)
    assert f"{LAYER}.{half}.weight holds NaN or infinity" in refused(tmp_path, model_folder)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lora_alpha": 0}, "changes nothing: lora_alpha is 0"),
        ({"alpha_pattern": {"q_proj": 0}}, "changes nothing: lora_alpha is 0"),
        ({"lora_alpha": "16"}, "lora_alpha in adapter_config.json is '16', no number"),
        ({"lora_alpha": float("nan")}, "lora_alpha in adapter_config.json is nan, no number"),
        ({"r": 8}, "has rank 2, adapter_config.json says 8"),
        ({"rank_pattern": {"q_proj": 4}}, "has rank 2, adapter_config.json says 4"),
        ({"rank_pattern": {"(": 4}}, "rank_pattern in adapter_config.json cannot be read"),
        ({"rank_pattern": [4]}, "rank_pattern in adapter_config.json cannot be read"),
        ({"peft_type": "IA3"}, "is of peft_type IA3, not LORA"),
        ({"peft_type": "ADALORA"}, "is of peft_type ADALORA, not LORA"),
    ],
)
def test_settings_that_do_not_belong_to_the_tensors(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    settings: dict[str, Any],
    told: str,
) -> None:
    assert told in refused(write_adapter(tmp_path, **settings), model_folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"r": 8, "rank_pattern": {"layers.0.self_attn.q_proj": 2}},
        {"lora_alpha": 0, "alpha_pattern": {r".*\.q_proj": 3}},
        {"target_modules": r".*language.*\.(q|k)_proj", "exclude_modules": "vision"},
        {"target_modules": "all-linear", "init_lora_weights": "gaussian"},
    ],
)
def test_settings_that_fit(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, settings: dict[str, Any]
) -> None:
    folder = write_adapter(tmp_path, **settings)
    assert open_adapter("tuned", str(folder), model_folder).rank == 2


def test_what_is_given_instead_of_a_loras_folder(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_adapter(tmp_path / "run" / "checkpoint-500")
    assert "is a file; give the folder" in refused(
        folder / "adapter_model.safetensors", model_folder
    )
    assert "there is one in checkpoint-500 below it" in refused(tmp_path / "run", model_folder)
    assert "looks like a whole model" in refused(write_model(tmp_path / "model"), model_folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(AdapterError) as caught:
        open_adapter("tuned", "someone/a-lora", model_folder)
    assert "cannot get 'someone/a-lora' from the hub" in str(caught.value)
    assert "here is no folder someone/a-lora" in str(caught.value)
    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    weights.write_text(pointer)
    assert "adapter_model.safetensors is not the file itself but a git-lfs" in refused(
        folder, model_folder
    )
    weights.rename(folder / "adapter_model.bin")
    assert "but adapter_model.bin; load it with peft" in refused(folder, model_folder)
    settings.write_text(json.dumps({"fine_tune_type": "lora", "lora_parameters": {"rank": 8}}))
    assert "is an adapter of MLX" in refused(folder, model_folder)
    settings.write_text(pointer)
    assert "adapter_config.json is not the file itself but a git-lfs" in refused(
        folder, model_folder
    )


def test_a_sharded_model_known_by_its_index_alone(
    tmp_path: Path, write_adapter: AdapterWriter
) -> None:
    """Names are still matched where the weights' own files are not on this machine."""
    model = tmp_path / "model"
    model.mkdir()
    weights = {"model.layers.0.self_attn.q_proj.weight": "model-00001-of-00002.safetensors"}
    index = {"weight_map": weights}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert open_adapter("tuned", str(write_adapter(tmp_path / "a", shape=(4096, 3840))), model)
    lost = write_adapter(tmp_path / "b", module="model.layers.1.self_attn.q_proj")
    assert "layers.1" in refused(lost, model)


@pytest.mark.parametrize(
    "begun", ["pissa", "pissa_niter_16", "PiSSA", "olora", "corda", "loftq", "lora_ga", "mica"]
)
def test_an_adapter_that_changed_its_base_is_refused_by_any_engine(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, begun: str
) -> None:
    folder = write_adapter(tmp_path, init_lora_weights=begun)
    told = refused(folder, model_folder)
    assert f"was begun by {begun} (init_lora_weights), on base weights of its own" in told
    assert "path_initial_model_for_weight_conversion" in told


@pytest.mark.parametrize("begun", [True, False, "gaussian", "eva"])
def test_an_adapter_that_began_otherwise_fits(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, begun: bool | str
) -> None:
    folder = write_adapter(tmp_path, init_lora_weights=begun)
    assert open_adapter("tuned", str(folder), model_folder).rank == 2


def test_a_revision_is_for_the_hubs_adapters_alone(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path
) -> None:
    folder = write_adapter(tmp_path)
    with pytest.raises(AdapterError, match=r"^variants\.tuned\.revision is for an adapter of"):
        open_adapter("tuned", str(folder), model_folder, "main")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("lora.gguf", "is an adapter in GGUF, for llama.cpp (lora.gguf); give the folder that"),
        ("adapters.safetensors", "is an adapter of MLX (adapters.safetensors); give the folder"),
        ("adapters.npz", "is an adapter of MLX (adapters.npz)"),
    ],
)
def test_an_adapter_of_another_program_is_called_so(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, file: str, told: str
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / file).write_bytes(b"GGUF")
    assert told in refused(tmp_path / "bare", model_folder)
    folder = write_adapter(tmp_path / "configured")
    (folder / "adapter_model.safetensors").rename(folder / file)
    assert told in refused(folder, model_folder)
