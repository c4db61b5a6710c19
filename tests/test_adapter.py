"""An adapter's folder is checked against the model without an engine."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medsent.adapter import open_adapter
from medsent.errors import AdapterError
from medsent.hashes import sha256_file
from tests.conftest import AdapterWriter

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
    "module",
    [
        "base_model.model.model.language_model.layers.17.self_attn.q_proj",
        "base_model.model.language_model.model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.q_proj",
    ],
)
def test_a_wrappers_prefix_does_not_matter(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, module: str
) -> None:
    assert open_adapter("tuned", str(write_adapter(tmp_path, module=module)), model_folder)


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("base_model.model.model.layers.18.self_attn.q_proj", "layers.18.self_attn.q_proj"),
        ("base_model.model.model.layers.0.attention.wq", "layers.0.attention.wq"),
        ("base_model.model.vision_tower.layers.0.self_attn.q_proj", "vision_tower.layers.0"),
        ("base_model.model.q_proj", "q_proj"),
    ],
)
def test_targets_that_match_nothing(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, module: str, missing: str
) -> None:
    message = refused(write_adapter(tmp_path, module=module), model_folder)
    assert missing in message
    assert "which the model does not have" in message


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
    assert "no readable adapter_config.json" in refused(tmp_path / "gone", model_folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"r": null}', '{"r": "many"}'])
def test_a_broken_configuration(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, text: str
) -> None:
    folder = write_adapter(tmp_path)
    (folder / "adapter_config.json").write_text(text)
    assert "no readable adapter_config.json" in refused(folder, model_folder)


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
    ("names", "told"),
    [
        ([f"{LAYER}.lora_A.weight"], "lacks one half of layers.0.self_attn.q_proj"),
        ([f"{LAYER}.weight"], "which is no LoRA pair"),
        ([], "holds no tensors"),
    ],
)
def test_tensors_that_are_no_pairs(
    tmp_path: Path, write_adapter: AdapterWriter, model_folder: Path, names: list[str], told: str
) -> None:
    folder = write_adapter(tmp_path)
    tensors = {name: np.ones((2, 640), np.float32) for name in names}
    save_file(tensors, folder / "adapter_model.safetensors")
    assert told in refused(folder, model_folder)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("use_dora", True, "DoRA"),
        ("modules_to_save", ["lm_head"], "modules_to_save"),
        ("alora_invocation_tokens", [1], "aLoRA"),
    ],
)
def test_kinds_that_the_engine_cannot_serve(
    tmp_path: Path,
    write_adapter: AdapterWriter,
    model_folder: Path,
    key: str,
    value: object,
    what: str,
) -> None:
    folder = write_adapter(tmp_path, **{key: value})
    assert f"uses {what}, which vLLM cannot serve" in refused(folder, model_folder)


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
