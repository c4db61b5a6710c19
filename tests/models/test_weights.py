"""Weights that are not whole are refused before vLLM would answer with what lay in memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from medsent.errors import ModelError
from medsent.models.weights import refuse_incomplete
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder, logged

MODULES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "input_layernorm")
WORDS, LAYERS = 8, 4

Tensors = dict[str, Any]


def tensors_of(stack: str = "model.layers", layers: int = LAYERS) -> Tensors:
    names = [f"{stack}.{n}.{module}.weight" for n in range(layers) for module in MODULES]
    return {name: np.ones((2, 2), np.float32) for name in names}


def written(folder: Path, tensors: Tensors, **config: Any) -> Path:
    """Write a model with its weights in two files and an index."""
    folder.mkdir(exist_ok=True)
    tensors = {"model.embed_tokens.weight": np.ones((WORDS, 2), np.float32), **tensors}
    (folder / "config.json").write_text(
        json.dumps({"vocab_size": WORDS, "num_hidden_layers": LAYERS, **config})
    )
    places: dict[str, str] = {}
    for part in range(2):
        of_part = dict(list(tensors.items())[part::2])
        places |= dict.fromkeys(of_part, f"model-{part}.safetensors")
        save_file(of_part, folder / f"model-{part}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: cut(f / "model-1.safetensors"), "model-1.safetensors is damaged or not all"),
        (lambda f: (f / "model-0.safetensors").write_bytes(b""), "model-0.safetensors is damaged"),
        (
            lambda f: (f / "model-0.safetensors").write_text("version https://git-lfs..."),
            "model-0.safetensors is damaged",
        ),
        (lambda f: (f / "model-0.safetensors").unlink(), "there is no model-0.safetensors"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text("{"),
            "index.json is damaged",
        ),
        (lambda f: [path.unlink() for path in f.glob("*.safetensors")], "no weights as safe"),
    ],
)
def test_a_file_that_is_damaged_or_gone_is_named(
    tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    folder = written(tmp_path / "model", tensors_of())
    refuse_incomplete(folder)
    damage(folder)
    with pytest.raises(ModelError, match=r"^model\.source: ") as caught:
        refuse_incomplete(folder)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def warned(folder: Path) -> str:
    """Return what is said of a folder's weights."""
    with logged() as said:
        refuse_incomplete(folder)
    return "\n".join(said)


def without(*lost: str) -> Tensors:
    return {name: tensor for name, tensor in tensors_of().items() if name not in lost}


@pytest.mark.parametrize("stack", ["model.layers", "language_model.model.layers"])
@pytest.mark.parametrize("layer", [0, 2, LAYERS - 1])
def test_a_module_that_one_layer_lacks_is_named(tmp_path: Path, stack: str, layer: int) -> None:
    tensors = tensors_of(stack) | tensors_of("vision_tower.layers", 2)
    del tensors[f"{stack}.{layer}.mlp.up_proj.weight"]
    told = f"there is no {stack}.{layer}.mlp.up_proj, which all other layers have"
    assert told in warned(written(tmp_path / "model", tensors))


@pytest.mark.parametrize("inner", [False, True])
def test_layers_that_are_not_there_are_counted(tmp_path: Path, inner: bool) -> None:
    size: dict[str, Any] = {"num_hidden_layers": 5}
    config = {"text_config": size} if inner else size
    folder = written(tmp_path / "model", tensors_of() | tensors_of("vision_tower.layers", 9))
    assert not warned(folder)
    written(folder, tensors_of() | tensors_of("vision_tower.layers", 9), **config)
    assert "there are 4 layers of 5" in warned(folder)


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        pytest.param(without("model.layers.0.mlp.up_proj.weight"), {"n_experts": 2}, id="experts"),
        pytest.param(
            without(*(f"model.layers.{n}.self_attn.q_proj.weight" for n in (1, 3))),
            {},
            id="layers of two kinds",
        ),
        pytest.param(
            {k.replace("proj.weight", "proj.weight_packed"): v for k, v in tensors_of().items()},
            {},
            id="quantised",
        ),
        pytest.param({"transformer.h.0.mlp.weight": np.ones((2, 2))}, {}, id="other names"),
        pytest.param(
            without("model.layers.1.mlp.up_proj.weight"),
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            id="one layer not quantised",
        ),
        pytest.param(
            tensors_of(layers=LAYERS + 1) | {"model.layers.4.head.weight": np.ones((2, 2))},
            {},
            id="a layer more",
        ),
    ],
)
def test_what_other_models_are_like_passes(
    tmp_path: Path, tensors: Tensors, config: dict[str, Any]
) -> None:
    assert not warned(written(tmp_path / "model", tensors, **config))


def test_the_embedded_model_and_a_wrapper_are_whole(
    model_folder: Path, wrapped_model: Path
) -> None:
    assert not warned(model_folder)
    assert not warned(wrapped_model)


def test_a_job_with_such_a_model_is_refused_unless_its_weights_are_made_up(
    job: JobBuilder, small_model: Path
) -> None:
    """The scripted engine needs none; its model here has only a list of them."""
    make_plan(job())
    with pytest.raises(ModelError, match="holds no weights as safetensors"):
        make_plan(job(engine={"kind": "vllm"}))
    dummy = {"kind": "vllm", "options": {"load_format": "dummy"}}
    make_plan(job(engine=dummy))
