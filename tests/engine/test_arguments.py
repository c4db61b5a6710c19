"""What vLLM's engine is told, by model and by what is asked of it, and a start that is cut off."""

import json
import re
from pathlib import Path

import pytest

from medsent.config import ModelSettings, VllmSettings
from medsent.engine import vllm
from medsent.engine.footprint import Footprint
from medsent.engine.vllm import EnginePlan, VllmEngine, arguments_of, footprint_of
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


def test_an_engine_on_gpus_starts_without_a_compiler_of_cuda_and_as_processes_of_its_actor() -> (
    None
):
    model = ModelSettings(source="model", tensor_parallel_size=2)
    plan = EnginePlan("model", VllmSettings(device="gpu"), model)
    arguments = arguments_of(plan)
    assert arguments["max_num_batched_tokens"] == 16384
    assert arguments["distributed_executor_backend"] == "mp"
    assert footprint_of(plan, arguments) == Footprint(1024, 16384, 0.9)
    variables = plan.environment()
    assert variables["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_CACHE_ROOT" not in variables  # the cluster's to say


def test_vllm_knows_the_variables_that_it_is_given() -> None:
    from vllm import envs

    dockerfile = Path("cluster/Dockerfile.gpu").read_text(encoding="utf-8")
    manifest = Path("cluster/raycluster.yaml").read_text(encoding="utf-8")
    given = set(re.findall(r"\bVLLM_\w+", " ".join([*vllm._ENVIRONMENT, dockerfile, manifest])))
    assert given <= set(envs.environment_variables)
    assert {"VLLM_USE_FLASHINFER_SAMPLER", "VLLM_CACHE_ROOT", "VLLM_USE_DEEP_GEMM"} <= given
