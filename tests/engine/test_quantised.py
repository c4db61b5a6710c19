"""A wrapper in 4 bits under the real vLLM, with the demo's adapter; one start."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.config.labels import LABELS
from medsent.demo.data import write_split
from medsent.engine import cpu
from medsent.engine.protocol import Completion, Request
from medsent.engine.quantization import check_quantization
from medsent.engine.vllm import EnginePlan, VllmEngine
from medsent.models.source import load_tokenizer
from tests.asked import onepass, shipped_prompter
from tests.engine.quantised import CONFIG, dequantised, is_rounded, write_quantised
from tests.plain import load_plain, plain_logits

pytestmark = pytest.mark.engine

ADAPTER = Path("medsent/demo/adapter")
LACKS = cpu.missing_kernel("compressed-tensors", CONFIG)
VARIANTS = (None, "finetuned")
RECORDS = 12
AMX = "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quantised_model(tmp_path_factory: pytest.TempPathFactory, wrapped_model: Path) -> Path:
    return write_quantised(tmp_path_factory.mktemp("quantised") / "model", wrapped_model)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory, quantised_model: Path) -> list[Request]:
    """Each record by the base model, then by the adapter."""
    tokenizer = load_tokenizer(quantised_model)
    rows = pq.read_table(write_split("heldout", tmp_path_factory.mktemp("demo"))).to_pylist()
    prompter = shipped_prompter(tokenizer)
    prompts = [prompter.prompt(r["text"], r["language"], r["persona"]) for r in rows[:RECORDS]]
    ask = onepass(tokenizer).ask
    return [Request(prompt, ask, variant) for prompt in prompts for variant in VARIANTS]


@pytest.fixture(scope="module")
def answered(quantised_model: Path, requests: list[Request]) -> list[Completion]:
    model = ModelSettings(source=str(quantised_model), max_model_len=1024)
    settings = VllmSettings(device="cpu", kv_cache_gib=1)
    found = check_quantization(model, settings, quantised_model, on_cpu=True)
    assert found is not None
    assert found.stored
    adapters = {"finetuned": str(ADAPTER.resolve())}
    engine = VllmEngine(EnginePlan(str(quantised_model), settings, model, adapters, False))

    async def ask() -> list[Completion]:
        return await asyncio.gather(*map(engine.complete, requests))

    try:
        return asyncio.run(ask())
    finally:
        engine.close()


def expected(folder: Path, requests: list[Request], *, rounded: bool) -> dict[str | None, Any]:
    """Return transformers' probabilities by variant, (N, 21), of weights rounded or as they are."""
    import torch

    found: dict[str | None, Any] = {}
    for number, variant in enumerate(VARIANTS):
        model = load_plain(folder, ADAPTER if variant else None)
        for name, module in model.named_modules():
            inner = name.removesuffix(".base_layer")
            if rounded and isinstance(module, torch.nn.Linear) and is_rounded(inner):
                module.weight.data = dequantised(module.weight.data)
        some = requests[number :: len(VARIANTS)]
        prompts = [request.prompt for request in some]
        found[variant] = expit(plain_logits(model, prompts, some[0].ask.token_ids))
    return found


@pytest.mark.skipif(LACKS is not None, reason=str(LACKS))
def test_base_and_adapter_answer_in_4_bits_as_the_rounded_weights_do(
    answered: list[Completion],
    requests: list[Request],
    quantised_model: Path,
    model_folder: Path,
) -> None:
    method = onepass(load_tokenizer(quantised_model))
    exact = expected(model_folder, requests, rounded=True)
    whole = expected(model_folder, requests, rounded=False)
    for number, variant in enumerate(VARIANTS):
        some = answered[number :: len(VARIANTS)]
        found = np.array([method.read(c, [0.5] * len(LABELS)).probabilities for c in some])
        # What is left is the noise of 16 bits, where the rounding moves answers far more.
        noise = np.abs(found - exact[variant]).mean()
        moved = np.abs(found - whole[variant]).mean()
        near = np.corrcoef(found.ravel(), whole[variant].ravel())[0, 1]
        print(f"{variant}: noise {noise:.4f}, moved {moved:.4f}, correlation {near:.4f}")
        # Measured for the base model: 0.0055, 0.157 and 0.87. On a CPU with AMX, where vLLM has
        # another kernel for 4 bits: 0.0588, 0.199, 0.82; the adapter 0.0244, 0.0532, 0.95.
        assert noise < (0.1 if AMX else 0.015)
        assert noise < moved / (1.5 if AMX else 2)
        assert near > 0.75
    assert np.abs(exact[None] - exact["finetuned"]).mean() > 0.1
