"""The real vLLM where it cannot start: the root cause in one line, and that it would be so again."""

import json
from pathlib import Path
from typing import Any

import pytest

from medsent.config import ModelSettings, VllmSettings
from medsent.engine import orphan
from medsent.engine.vllm import EnginePlan, VllmEngine
from medsent.errors import EngineDiedError, EngineError

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 64,
    "max_position_embeddings": 256,
}
LOST = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def broken_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model, of which one tensor is not there."""
    from safetensors.torch import save_file
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    folder = tmp_path_factory.mktemp("broken")
    config: Any = Gemma3TextConfig(**SHAPE)
    tensors = {k: v.contiguous() for k, v in Gemma3ForCausalLM(config).state_dict().items()}
    del tensors[LOST], tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    values = {**config.to_dict(), "architectures": ["Gemma3ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("options", "length", "told"),
    [
        # In this process, by its validator; in the engine's core; in its worker.
        ({}, 512, ["ModelConfig: User-specified max_model_len (512)", "; lower model.max_model_"]),
        ({"kv_cache_memory_bytes": -1}, 64, [LOST.removesuffix(".weight"), "fetch them again"]),
    ],
)
def test_it_tells_the_root_cause(
    broken_model: Path, options: dict[str, Any], length: int, told: list[str]
) -> None:
    settings = VllmSettings(device="cpu", kv_cache_gib=1, max_num_seqs=4, options=options)
    model = ModelSettings(source=str(broken_model), max_model_len=length)
    plan = EnginePlan(str(broken_model), settings, model, written=False)
    with pytest.raises(EngineError, match=r"^vLLM did not start: ") as caught:
        VllmEngine(plan)
    assert not isinstance(caught.value, EngineDiedError)
    for words in told:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "root cause" not in str(caught.value)
    assert not orphan.members("")
