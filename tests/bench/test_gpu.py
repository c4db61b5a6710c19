"""What the GPU's bench claims, worked out from speeds that are known; an engine is scripted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medsent.answers.file import shipped_answer
from medsent.config.engine import VllmSettings
from medsent.config.labels import LABELS
from medsent.engine.protocol import Request
from medsent.engine.vllm import EnginePlan
from medsent.models.source import load_tokenizer
from tests.bench.gpu import __main__ as bench_gpu
from tests.bench.gpu import contenders, measure
from tests.bench.gpu.card import Rates, stated_rates
from tests.bench.gpu.figures import figures_of, ratios, table
from tests.bench.gpu.measure import Measured
from tests.bench.gpu.shapes import TEXT_12B, TEXT_TINY, attention, write_adapter, write_model
from tests.bench.limit import Shape, read_shape
from tests.bench.timing import Round

pytestmark = pytest.mark.slow

SHAPE = Shape([(10, 10)], 1, (10, 20))
"""100 parameters in the layers, 200 in the output."""
UNKNOWN = Rates(None, None)


def measured(rate: float, **changes: Any) -> Measured:
    values = {
        "contender": "lora",
        "who": "base",
        "method": "onepass",
        "readers": 16,
        "rates": [rate],
        "computed_tokens": 30.0,
        "cached_tokens": 78.0,
        "output_tokens": 1.0,
    }
    return Measured(**{**values, **changes})


def test_a_row_says_what_a_user_pays() -> None:
    found = figures_of(measured(100), SHAPE, Rates(1e6, None), Rates(2e6, None), 2.25)
    assert found["computed_tokens_per_s"] == 3000
    assert found["cached_tokens_per_s"] == 7800
    assert found["output_tokens_per_s"] == 100
    operations = 2 * (100 * 30 + 200)
    assert found["of_measured_limit"] == pytest.approx(100 * operations / 1e6)
    assert found["of_stated_limit"] == pytest.approx(100 * operations / 2e6)
    assert found["opinions_per_hour"] == 100 * 3600 / 16
    assert found["price_per_million_opinions"] == pytest.approx(100)


def test_where_base_and_adapter_answer_an_opinion_has_twice_the_answers() -> None:
    both = figures_of(measured(100, who="both"), SHAPE, UNKNOWN, UNKNOWN, None)
    assert both["opinions_per_hour"] == 100 * 3600 / 32


def test_weights_of_8_bits_are_set_against_rates_of_8_bits() -> None:
    rates = Rates(1e6, 4e6)
    sixteen = figures_of(measured(100), SHAPE, rates, UNKNOWN, None)
    eight = figures_of(measured(100, eight_bits=True), SHAPE, rates, UNKNOWN, None)
    assert eight["of_measured_limit"] == pytest.approx(sixteen["of_measured_limit"] / 4)


def test_what_is_not_known_is_not_made_up() -> None:
    found = figures_of(measured(100, computed_tokens=None), SHAPE, Rates(1e6, 1e6), UNKNOWN, None)
    assert found["of_measured_limit"] is None
    assert found["computed_tokens_per_s"] is None
    assert found["price_per_million_opinions"] is None
    assert figures_of(measured(1), SHAPE, UNKNOWN, UNKNOWN, 1)["of_stated_limit"] is None


def test_ratios_are_of_one_traffic_and_of_what_was_measured() -> None:
    rows = [
        measured(120),
        measured(100, who="adapter"),
        measured(3, method="json"),
        measured(150, contender="merged"),
        measured(0, contender="fp8", rates=[], failed="no FP8 here"),
    ]
    assert ratios(rows) == {
        "the adapter's slowdown against the base model in the same engine": pytest.approx(1.2),
        "the adapter's slowdown against a merged model": pytest.approx(1.5),
    }


def test_a_contender_that_failed_stands_in_the_table_with_its_reason() -> None:
    row = measured(1, rates=[], failed="ValueError: a | b\nc").model_dump()
    [_, _, line] = table([row])
    assert "| failed: ValueError: a / b c |" in line
    assert line.count("|") == 14


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", (989, 1979)),
        ("NVIDIA H100 PCIe", (756, 1513)),
        ("NVIDIA H200 NVL", (835, 1671)),
        ("NVIDIA H200", (989, 1979)),
        ("NVIDIA A100-SXM4-80GB", (312, None)),
        ("NVIDIA L40S", (362, 733)),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", (None, None)),
        ("NVIDIA H20", (None, None)),
        ("NVIDIA GeForce RTX 5090", (None, None)),
    ],
)
def test_a_card_is_known_by_its_whole_name(
    name: str, tflops: tuple[float | None, float | None]
) -> None:
    found = stated_rates(name)
    assert (found.bf16, found.fp8) == tuple(t and t * 1e12 for t in tflops)


def test_the_model_has_gemma_3_12b_s_parameters_and_is_a_wrapper(tmp_path: Path) -> None:
    from transformers import AutoConfig

    model = write_model(tmp_path / "model", TEXT_12B, tmp_path, wrapper=True)
    shape = read_shape(model)
    assert shape.layer_parameters + shape.output_parameters == pytest.approx(11.8e9, rel=0.01)
    config = AutoConfig.from_pretrained(model)
    assert config.architectures == ["Gemma3ForConditionalGeneration"]
    assert config.text_config.layer_types.count("full_attention") == 8
    assert config.vision_config.num_hidden_layers == 27


def test_the_adapter_targets_the_attention_of_every_layer(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(
        write_adapter(tmp_path / "a", TEXT_TINY, True) / "adapter_model.safetensors"
    )
    modules = attention(TEXT_TINY, wrapper=True)
    assert len(modules) == 4 * TEXT_TINY["num_hidden_layers"]
    for hubs, (outputs, inputs) in modules.items():
        module = hubs.replace("language_model.model", "model.language_model")
        down = tensors[f"base_model.model.{module}.lora_A.weight"]
        up = tensors[f"base_model.model.{module}.lora_B.weight"]
        assert (down.shape, up.shape) == ((16, inputs), (outputs, 16))
        assert down.any()
        assert up.any()


def test_an_engine_is_asked_at_least_twice_what_it_works_on() -> None:
    for traffic, on_gpu in ((contenders.TRAFFIC, True), (contenders.TINY_TRAFFIC, False)):
        sequences = VllmSettings().sequences(on_gpu)
        assert all(each.records >= 2 * sequences for each in traffic.values())


class ScriptedCard:
    def __init__(self, device: str) -> None:
        self._device = device

    def name(self) -> str:
        return "NVIDIA L4"

    def memory_gib(self) -> float:
        return 22.5

    def rates(self, _: Shape) -> Rates:
        return Rates(1e14, 2e14)

    def quantization(self) -> str:
        return "fp8_per_channel"


class ScriptedVllm:
    """Answers 50 a second as long as it may, half of the prompt from the cache; knows no FP8."""

    def __init__(self, plan: EnginePlan) -> None:
        if plan.model_settings.quantization:
            raise SystemExit(f"no kernel for {plan.model_settings.quantization}")

    def answer(self, requests: Sequence[Request]) -> Round:
        tokens = sum(len(request.prompt) for request in requests)
        finished = tuple((number + 1) / 50 for number in range(len(requests)))
        written = sum(request.ask.max_tokens for request in requests)
        return Round(finished, tokens // 2, tokens - tokens // 2, written)


def test_one_table_and_one_file_and_those_that_fail_stop_no_other(
    tmp_path: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench_gpu, "Card", ScriptedCard)
    monkeypatch.setattr(measure, "BareVllm", ScriptedVllm)
    output = tmp_path / "bench-gpu.json"
    only = ["--only=fp8", "--only=merged"]
    arguments = [f"--tokenizer={small_model}", "--price-per-hour=0.8", f"--output={output}"]
    assert bench_gpu.main(["--tiny", *only, *arguments]) == 0
    found = json.loads(output.read_text())
    told = {(row["contender"], row["method"], row["readers"]): row for row in found["rows"]}
    assert told["fp8", "onepass", 16]["failed"] == "no kernel for fp8_per_channel"
    shared = told["merged", "onepass", 16]
    assert shared["answers_per_s"] == pytest.approx(50)
    assert shared["price_per_million_opinions"] == pytest.approx(0.8e6 * 16 / (50 * 3600))
    answer = shipped_answer().form_of(LABELS).write([False] * len(LABELS))
    words = load_tokenizer(small_model)(answer, add_special_tokens=False)["input_ids"]
    assert told["merged", "json", 16]["output_tokens"] == len(words) + 1
    assert shared["output_tokens"] == 1
    assert found["stated"] == {"bf16": 121e12, "fp8": 242e12}
    assert found["settings"]["merged"]["load_format"] == "dummy"
    printed = capsys.readouterr().out
    assert "NVIDIA L4; a tiny model's shapes" in printed
    assert "| merged | base | bf16 | json | 16 | 50 |" in printed
    assert printed.count("| failed: ") == sum(row["contender"] == "fp8" for row in found["rows"])


def test_without_a_gpu_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "has_gpu", lambda: False)
    assert bench_gpu.main([]) == 2
    assert "needs an NVIDIA GPU" in capsys.readouterr().err
