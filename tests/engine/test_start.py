"""The real vLLM where it cannot start: its root cause in one line, and no hope in another start."""

import json
from pathlib import Path
from typing import Any

import pytest

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.engine.vllm import EnginePlan, VllmEngine
from medsent.errors import EngineDiedError, EngineError

pytestmark = pytest.mark.engine

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
LOST = "model.norm.weight"


@pytest.fixture(scope="module")
def broken_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model, of which a tensor that vLLM misses is not there."""
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
    ("length", "told"),
    [
        # In this process, by a validator; and in the engine's worker.
        (512, ["ModelConfig: User-specified max_model_len (512)", "; lower model.max_model_"]),
        (64, ["ValueError: ", LOST, "fetch them again"]),
    ],
)
def test_it_tells_the_root_cause(broken_model: Path, length: int, told: list[str]) -> None:
    settings = VllmSettings(device="cpu", kv_cache_gib=1, max_num_seqs=4)
    model = ModelSettings(source=str(broken_model), max_model_len=length)
    plan = EnginePlan(str(broken_model), settings, model, written=False)
    with pytest.raises(EngineError, match=r"^vLLM did not start: ") as caught:
        VllmEngine(plan)
    assert not isinstance(caught.value, EngineDiedError)
    for words in told:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "root cause" not in str(caught.value)
