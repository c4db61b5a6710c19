"""What vLLM's engine is told, by model and by what is asked of it, and a start that is cut off."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, PreTrainedConfig, Qwen2_5_VLConfig

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.engine import vllm
from medsent.engine.footprint import Footprint
from medsent.engine.vllm import EnginePlan, VllmEngine, arguments_of, footprint_of
from medsent.errors import EngineDiedError, ModelError

TEXT = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"}
WRAPPER = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {"model_type": "gemma3_text"},
    "vision_config": {},
}
UNTRIED = WRAPPER | {"model_type": "paligemma", "text_config": {"model_type": "gemma"}}
FLOAT32 = {"head_dtype": "float32"}


def plan_of(folder: Path, config: dict[str, Any] | None, **settings: Any) -> EnginePlan:
    """Return the plan of an engine on a CPU over a folder with this `config.json`."""
    written = settings.pop("written", False)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    engine = VllmSettings.model_validate({"device": "cpu", **settings})
    return EnginePlan(str(folder), engine, ModelSettings(source=str(folder)), written=written)


@pytest.mark.parametrize(
    ("config", "written", "skipped"),
    [
        (TEXT, False, True),
        (TEXT, True, False),
        (WRAPPER, False, True),
        (WRAPPER, True, False),
        ({"architectures": ["MolmoForCausalLM"]}, False, False),
        ({}, False, False),
        (None, False, False),
    ],
)
def test_vllm_loads_a_tokenizer_unless_nothing_needs_it(
    config: dict[str, Any] | None, written: bool, skipped: bool, tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, config, written=written)
    assert arguments_of(plan)["skip_tokenizer_init"] is skipped


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, FLOAT32),
        ({"rope_theta": 5.0}, {**FLOAT32, "rope_theta": 5.0}),
        ({"head_dtype": "model"}, {"head_dtype": "model"}),
    ],
)
def test_the_last_layer_is_of_32_bits_unless_the_user_says_otherwise(
    own: dict[str, Any], told: dict[str, Any], tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, TEXT, options={"hf_overrides": own})
    assert arguments_of(plan)["hf_overrides"] == told


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, {**FLOAT32}),
        ({"rope_theta": 5.0}, {**FLOAT32, "rope_theta": 5.0}),
        ({"text_config": {"rope_theta": 6.0}, "rope_theta": 5.0}, {**FLOAT32, "rope_theta": 6.0}),
        ({"text_config": {"head_dtype": "model"}}, {"head_dtype": "model"}),
    ],
)
def test_of_a_wrapper_the_text_model_is_served_with_what_the_user_overrides(
    own: dict[str, Any], told: dict[str, Any], wrapped_model: Path
) -> None:
    plan = plan_of(wrapped_model, None, options={"hf_overrides": own})
    serve = pickle.loads(pickle.dumps(arguments_of(plan)["hf_overrides"]))
    wrapper = AutoConfig.from_pretrained(wrapped_model)
    wrapper.quantization_config = {"quant_method": "awq"}
    config = serve(wrapper)
    assert config.architectures == ["Gemma3ForCausalLM"]
    assert config.model_type == "gemma3_text"
    assert config.quantization_config == {"quant_method": "awq"}
    assert str(config.dtype) == "torch.bfloat16"
    assert config.tie_word_embeddings
    assert {name: getattr(config, name) for name in told} == told


def test_a_stand_in_without_a_text_model_passes(wrapped_model: Path) -> None:
    """vLLM asks the overrides for the kind of model before it has read its configuration."""
    serve = arguments_of(plan_of(wrapped_model, None))["hf_overrides"]
    assert serve(PreTrainedConfig(model_type="dummy_gemma3")).model_type == "dummy_gemma3"


def test_positions_of_text_are_one_stream(tmp_path: Path) -> None:
    text = {"model_type": "qwen2_5_vl_text"}
    config = {"model_type": "qwen2_5_vl", "text_config": text}
    serve = arguments_of(plan_of(tmp_path, config))["hf_overrides"]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    wrapper = Qwen2_5_VLConfig(text_config={"rope_parameters": rope})
    served = serve(wrapper)
    assert served.architectures == ["Qwen2ForCausalLM"]
    assert served.rope_parameters == {"rope_type": "default", "rope_theta": 1e6}


@pytest.mark.parametrize(
    "config",
    [
        UNTRIED,
        UNTRIED | {"text_config": {}},
        WRAPPER | {"text_config": {"model_type": "mamba"}},
        {"text_config": {"model_type": "gemma3_text"}},
    ],
)
def test_a_wrapper_that_was_not_tried_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^model\.source: .*gemma3.*language_model_only: true$"):
        arguments_of(plan_of(tmp_path, config))


@pytest.mark.parametrize(
    "options",
    [{"language_model_only": True}, {"hf_overrides": {"architectures": ["PaliGemma"]}}],
)
def test_a_user_may_let_vllm_serve_a_whole_wrapper(options: dict[str, Any], tmp_path: Path) -> None:
    arguments = arguments_of(plan_of(tmp_path, UNTRIED, options=options))
    told = options.get("hf_overrides", {})
    assert arguments["hf_overrides"] == {**FLOAT32, **told, "text_config": FLOAT32}
    assert not arguments["skip_tokenizer_init"]


@pytest.mark.parametrize(
    ("target", "whole"),
    [
        ("Linear", False),
        ("re:.*mlp.*", False),
        ("model.language_model.layers.0.mlp.up_proj", False),
        ("re:.*language_model.*proj", True),
    ],
)
def test_a_wrapper_quantised_by_patterns_of_its_names_is_served_whole_without_images(
    target: str, whole: bool, tmp_path: Path
) -> None:
    groups = {"config_groups": {"group_0": {"targets": [target]}}}
    arguments = arguments_of(plan_of(tmp_path, WRAPPER | {"quantization_config": groups}))
    assert arguments.get("language_model_only", False) is whole
    assert isinstance(arguments["hf_overrides"], dict) is whole
    assert arguments["skip_tokenizer_init"] is not whole


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
    assert "VLLM_BATCH_INVARIANT" not in variables


def test_vllm_knows_the_variables_that_it_is_given() -> None:
    from vllm import envs

    dockerfile = Path("cluster/Dockerfile.gpu").read_text(encoding="utf-8")
    manifest = Path("cluster/raycluster.yaml").read_text(encoding="utf-8")
    engine = VllmSettings(device="gpu", batch_invariant=True)
    own = EnginePlan("model", engine, ModelSettings(source="model")).environment()
    given = set(re.findall(r"\bVLLM_\w+", " ".join([*own, dockerfile, manifest])))
    assert given <= set(envs.environment_variables)
    assert own["VLLM_BATCH_INVARIANT"] == "1"
    assert {"VLLM_USE_FLASHINFER_SAMPLER", "VLLM_CACHE_ROOT", "VLLM_USE_DEEP_GEMM"} <= given
