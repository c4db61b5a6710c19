"""What vLLM's engine is told, by model and by what is asked of it, and a start that is cut off."""

import json
from pathlib import Path

import pytest

from medsent.config import ModelSettings, VllmSettings
from medsent.engine import vllm
from medsent.engine.vllm import EnginePlan, VllmEngine, arguments_of
from medsent.errors import EngineDiedError

TEXT = {"architectures": ["Gemma3ForCausalLM"]}
IMAGES = {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}}


@pytest.mark.parametrize(
    ("config", "written", "skipped"),
    [
        (TEXT, False, True),
        (TEXT, True, False),
        (IMAGES, False, False),
        ({"architectures": ["MolmoForCausalLM"]}, False, False),
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


@pytest.mark.parametrize(("device", "found"), [("cpu", 64), ("gpu", 1024)])
def test_sequences_at_a_time_are_found_for_the_device(device: str, found: int) -> None:
    model = ModelSettings(source="model")
    for settings, expected in (({}, found), ({"max_num_seqs": 3}, 3)):
        engine = VllmSettings.model_validate({"device": device, **settings})
        plan = EnginePlan("model", engine, model, written=True)
        assert arguments_of(plan)["max_num_seqs"] == expected


@pytest.mark.parametrize(
    "error", [EOFError("cut"), ConnectionResetError("cut"), RuntimeError("cut\nand a trace")]
)
def test_a_process_that_dies_while_it_starts_may_be_tried_again(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_: object) -> None:
        raise error  # what the server's pipe gives when the server is killed

    monkeypatch.setattr(vllm, "_launched", cut_off)
    monkeypatch.setattr(EnginePlan, "environment", lambda _: {})
    settings = ModelSettings(source=str(tmp_path))
    with pytest.raises(EngineDiedError, match=rf"did not start: {type(error).__name__}: cut$"):
        VllmEngine(EnginePlan(str(tmp_path), VllmSettings(device="cpu"), settings))
