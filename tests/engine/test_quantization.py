"""What check says of quantised weights: vLLM is asked, no engine is started, nothing is guessed."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.cli import main
from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.engine import cpu
from medsent.engine.quantization import Quantization, check_quantization
from medsent.errors import ConfigError, ModelError
from tests.conftest import captured, job_values, merged
from tests.engine.quantised import CONFIG

TEXT = {"model_type": "gemma3_text", "num_attention_heads": 4, "num_key_value_heads": 1}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
BITSANDBYTES = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
WITHOUT_AVX512 = "flags : fma avx2 f16c"


def checked(
    folder: Path,
    held: Any = None,
    *,
    within: bool = False,
    on_cpu: bool = False,
    options: dict[str, Any] | None = None,
    **model: Any,
) -> Quantization | None:
    """Check a model of which nothing but its configuration is there."""
    text = {**TEXT, **({"quantization_config": held} if held and within else {})}
    config = {"model_type": "gemma3", "text_config": text} if within else {**TEXT}
    if held and not within:
        config["quantization_config"] = held
    (folder / "config.json").write_text(json.dumps(config))
    settings = ModelSettings(source=str(folder), **model)
    return check_quantization(settings, VllmSettings(options=options or {}), folder, on_cpu=on_cpu)


def test_weights_of_16_bits_are_nothing_to_ask_about(tmp_path: Path) -> None:
    assert checked(tmp_path) is None


@pytest.mark.parametrize(
    ("held", "method"), [(CONFIG, "compressed-tensors"), (GPTQ, "auto_gptq"), (AWQ, "awq")]
)
@pytest.mark.parametrize("within", [False, True])
def test_a_checkpoint_in_4_bits_needs_no_setting(
    tmp_path: Path, held: dict[str, Any], method: str, within: bool
) -> None:
    found = checked(tmp_path, held, within=within)
    assert found is not None
    assert found.stored
    # On a GPU vLLM calls AWQ by the name of its kernels.
    assert found.method in (method, f"auto_{method}")


def test_vllm_quantises_as_it_loads_under_any_case_of_letters(tmp_path: Path) -> None:
    found = checked(tmp_path, quantization="FP8_per_channel", on_cpu=True)
    assert found is not None
    assert (found.method, found.stored) == ("fp8_per_channel", False)


def test_a_deprecated_name_is_told(tmp_path: Path) -> None:
    assert "deprecated, take fp8_per_tensor" in str(checked(tmp_path, quantization="fp8"))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"quantization": "fp8_per_chanel"}, "did you mean fp8_per_channel"),
        ({"quantization": "compressed_tensors"}, "did you mean compressed-tensors"),
        ({"quantization": "int4"}, r"no 'int4'; .*jobs/quantise.py"),
        ({"quantization": "fbgemm_fp8"}, "gives fbgemm_fp8 up"),
        ({"quantization": "experts_int8"}, "experts alone, and the model has none"),
        ({"quantization": "awq"}, "awq needs a checkpoint"),
        ({"quantization": "compressed-tensors"}, "compressed-tensors needs a checkpoint"),
        ({"quantization": "online"}, "engine.options.quantization_config"),
        ({"quantization": "fp8_per_channel", "dtype": "float32"}, "model.dtype.*bfloat16"),
        ({"held": GPTQ, "quantization": "awq"}, "gptq already, not awq; leave the setting out"),
        ({"held": CONFIG, "quantization": "fp8_per_channel"}, "compressed-tensors already"),
        ({"held": CONFIG, "dtype": "float32"}, "model.dtype.*bfloat16"),
        ({"quantization": "fp8_per_tensor", "on_cpu": True}, "no kernel on this CPU"),
        ({"options": {"quantization": "nf4"}}, "no 'nf4'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_what_to_do(
    tmp_path: Path, model: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        checked(tmp_path, **model)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"bits": 4}, "names no quant_method"),
        ("gptq", "names no quant_method"),
        ({"quant_method": "eetq"}, "cannot serve weights held as eetq"),
        ({**AWQ, "bits": 3}, "cannot serve weights held as awq"),
    ],
)
def test_a_checkpoint_that_vllm_cannot_serve_is_refused(
    tmp_path: Path, held: Any, says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        checked(tmp_path, held)


@pytest.mark.skipif(find_spec("vllm_bnb_plugin") is not None, reason="bitsandbytes is there")
def test_bitsandbytes_is_said_to_be_in_a_package_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"package vllm-bnb-plugin.*fp8_per_channel"):
        checked(tmp_path, quantization="bitsandbytes")
    with pytest.raises(ModelError, match=r"bitsandbytes \(it is in the package vllm-bnb-plugin"):
        checked(tmp_path, BITSANDBYTES)


def in_bits(bits: int, layout: str, **weights: Any) -> dict[str, Any]:
    """Return what compressed-tensors says of a checkpoint."""
    return {"format": layout, "config_groups": {"g": {"weights": {"num_bits": bits, **weights}}}}


@pytest.mark.parametrize(
    ("held", "feature"),
    [
        (CONFIG, "avx512bw"),
        (GPTQ, "avx512bw"),
        (AWQ, "avx512bw"),
        (in_bits(8, "float-quantized", strategy="block"), "amx_tile"),
        (in_bits(8, "pack-quantized"), None),
        ({**GPTQ, "bits": 8}, None),
        (in_bits(8, "int-quantized"), None),
    ],
)
def test_a_cpu_without_a_kernel_is_known_before_the_start(
    tmp_path: Path, held: dict[str, Any], feature: str | None
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(WITHOUT_AVX512)
    assert cpu.missing_kernel("", held, info, adapters=True)
    info.write_text(f"{WITHOUT_AVX512} avx512bw amx_tile")
    lacking = cpu.missing_kernel("", held, info, adapters=True)
    assert (lacking is None) is (feature is not None)


def test_a_computed_type_of_16_bits_stays_where_weights_are_quantised(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(WITHOUT_AVX512)
    assert cpu.compute_dtype("bfloat16", info) == "float32"
    assert cpu.compute_dtype("bfloat16", info, in_16_bits=True) == "bfloat16"


def test_check_ends_with_2_and_one_line(
    tmp_path: Path, demo_shard: Path, model_folder: Path
) -> None:
    values = job_values(demo_shard, tmp_path / "runs", model_folder)
    groups = {"model": {"quantization": "w4a16"}, "engine": {"kind": "vllm"}}
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(merged(values, groups)))
    with captured() as (said, complained), pytest.raises(SystemExit) as ended:
        main(["check", str(job)])
    assert ended.value.code == 2
    assert said.getvalue() == ""
    [line] = complained.getvalue().splitlines()
    assert line.startswith("medsent: model.quantization: vLLM")
    assert not (tmp_path / "runs").exists()
