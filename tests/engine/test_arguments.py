"""What vLLM's engine is told, by model and by what is asked of it."""

import json
from pathlib import Path

import pytest

from medsent.config import ModelSettings, VllmSettings
from medsent.engine.vllm import EnginePlan, arguments_of

TEXT = {"architectures": ["Gemma3ForCausalLM"]}
IMAGES = {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}}


@pytest.mark.parametrize(
    ("config", "written", "skipped"),
    [
        (TEXT, False, True),
        (TEXT, True, False),
        (IMAGES, False, False),
        ({**TEXT, "vision_config": {}}, False, False),
        ({}, False, False),
        (None, False, False),
    ],
)
def test_vllm_loads_a_tokenizer_unless_nothing_needs_it(
    config: dict[str, object] | None, written: bool, skipped: bool, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    plan = EnginePlan(
        str(tmp_path),
        VllmSettings(device="cpu"),
        ModelSettings(source=str(tmp_path)),
        written=written,
    )
    assert arguments_of(plan)["skip_tokenizer_init"] is skipped


@pytest.mark.parametrize(("device", "found"), [("cpu", 64), ("gpu", 256)])
def test_sequences_at_a_time_are_found_for_the_device(device: str, found: int) -> None:
    model = ModelSettings(source="model")
    for settings, expected in (({}, found), ({"max_num_seqs": 3}, 3)):
        engine = VllmSettings.model_validate({"device": device, **settings})
        plan = EnginePlan("model", engine, model, written=True)
        assert arguments_of(plan)["max_num_seqs"] == expected
