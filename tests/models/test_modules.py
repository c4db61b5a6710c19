"""Which modules a checkpoint has, and of which sizes, is read from headers and configuration."""

import json
from pathlib import Path

import pytest

from medsent.errors import ModelError
from medsent.models.modules import read_modules, text_layer
from medsent.models.weights import refuse_incomplete
from tests.models.checkpoints import SIZE, STORED, TEXT, WRAPPER, write_model

LAYER = "layers.0.self_attn.q_proj"
TOWER = "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(
    ("config", "before"),
    [(TEXT, "model."), (WRAPPER, "language_model.model."), (WRAPPER, "model.language_model.")],
    ids=["text", "hub's wrapper", "wrapper of transformers 5"],
)
def test_a_layer_is_known_however_it_is_stored_and_called(
    tmp_path: Path, config: dict[str, object], before: str, stored: str
) -> None:
    model = write_model(tmp_path / "model", config, f"{before}{LAYER}", stored)
    modules = read_modules(model)
    assert modules.layered
    assert modules.sizes == {LAYER: SIZE}


def test_a_type_that_transformers_does_not_know_is_compared_by_names_alone(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", {"model_type": "made-up"}, stored="gptq")
    assert read_modules(model).sizes == {LAYER: None}


@pytest.mark.parametrize(
    "name",
    [
        TOWER,
        f"model.{TOWER}",
        "visual.blocks.0.attn.qkv",
        "audio_tower.layers.0.self_attn.q_proj",
        "vision_model.model.layers.0.self_attn.q_proj",
        "multi_modal_projector.layers.0.linear",
        "model.vision_tower.layers.0.self_attn.q_proj",
    ],
)
def test_a_towers_layer_is_no_text_layer(tmp_path: Path, name: str) -> None:
    assert text_layer(name) is None
    tower = {f"{name}.weight": ("bfloat16", [32, 32])}
    model = write_model(tmp_path / "model", WRAPPER, f"language_model.model.{LAYER}", **tower)
    assert read_modules(model).sizes == {LAYER: SIZE}


def pointer(model: Path) -> None:
    (model / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    )


def cut(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def one_away(model: Path) -> None:
    names = {"a.weight": "model.safetensors", "b.weight": "model-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def broken_index(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (pointer, "model.safetensors is not the file itself but a git-lfs pointer"),
        (cut, "model.safetensors is damaged or not all of it is there"),
        (pickled, "no weights as safetensors, only pytorch_model.bin; load it"),
        (one_away, "there is no model-00002.safetensors, which the index names"),
        (broken_index, "model.safetensors.index.json is damaged"),
    ],
)
def test_weights_that_are_not_there_are_the_models_fault(
    tmp_path: Path, spoil: object, told: str
) -> None:
    model = write_model(tmp_path / "model")
    assert callable(spoil)
    spoil(model)
    for look in (read_modules, refuse_incomplete):
        with pytest.raises(ModelError) as caught:
            look(model)
        assert told in str(caught.value)
