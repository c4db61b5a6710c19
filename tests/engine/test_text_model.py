"""The text model out of a multimodal wrapper: alone in the engine, its adapters by any name."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit
from transformers import CONFIG_MAPPING

from medsent.answers.methods.bits import digit_token_ids
from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.config.labels import LABELS
from medsent.demo.data import write_split
from medsent.engine import text_model
from medsent.engine.protocol import Completion, Request
from medsent.engine.vllm import EnginePlan, VllmEngine
from medsent.models.source import load_tokenizer
from tests.asked import json_object, shipped_method, shipped_prompter
from tests.plain import load_plain, plain_logits
from tests.wrapped import NAMINGS, write_renamed

pytestmark = pytest.mark.engine

ADAPTER = Path("medsent/demo/adapter")
VARIANTS = (None, *NAMINGS)
RECORDS: dict[Any, int] = {"onepass": 6, "bits": 2, "json": 1}
CLOSE = 0.005


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: str(write_renamed(folder / name, ADAPTER, name)) for name in NAMINGS}


@pytest.fixture(scope="module")
def requests(
    tmp_path_factory: pytest.TempPathFactory, wrapped_model: Path
) -> dict[str, list[Request]]:
    """Requests by method; each record by the base model, then by each adapter."""
    rows = pq.read_table(write_split("heldout", tmp_path_factory.mktemp("demo"))).to_pylist()
    tokenizer = load_tokenizer(wrapped_model)
    made: dict[str, list[Request]] = {}
    for name, records in RECORDS.items():
        method = shipped_method(name, tokenizer)
        prompter = shipped_prompter(tokenizer, name)
        prompts = [prompter.prompt(r["text"], r["language"], r["persona"]) for r in rows[:records]]
        made[name] = [Request(prompt, method.ask, v) for prompt in prompts for v in VARIANTS]
    return made


@pytest.fixture(scope="module")
def completions(
    wrapped_model: Path, adapters: dict[str, str], requests: dict[str, list[Request]]
) -> Iterator[dict[str, list[Completion]]]:
    """What one engine answers to all requests, in one batch."""
    model = ModelSettings(source=str(wrapped_model), max_model_len=1024, dtype="float32")
    engine = VllmEngine(
        EnginePlan(str(wrapped_model), VllmSettings(device="cpu", kv_cache_gib=1), model, adapters)
    )

    async def ask() -> list[Completion]:
        every = [request for some in requests.values() for request in some]
        return await asyncio.gather(*map(engine.complete, every))

    try:
        answered = iter(asyncio.run(ask()))
        yield {name: [next(answered) for _ in some] for name, some in requests.items()}
    finally:
        engine.close()


def of_variant(found: list[Any], variant: str | None) -> list[Any]:
    return found[VARIANTS.index(variant) :: len(VARIANTS)]


def probabilities(name: Any, completions: list[Completion], tokenizer: Any) -> np.ndarray:
    """Return (N, 21) probabilities."""
    method = shipped_method(name, tokenizer)
    answers = [method.read(completion, [0.5] * len(LABELS)) for completion in completions]
    return np.array([answer.probabilities for answer in answers])


@pytest.fixture(scope="module")
def references(
    wrapped_model: Path,
    model_folder: Path,
    adapters: dict[str, str],
    requests: dict[str, list[Request]],
    completions: dict[str, list[Completion]],
    tokenizer: Any,
) -> dict[tuple[str, bool], dict[str, np.ndarray]]:
    """transformers' probabilities: of wrapper or text, with the adapter or not, by method."""
    *_, of_the_text_model = NAMINGS
    ids = digit_token_ids(tokenizer)
    models = {
        "wrapper": (wrapped_model, Path(adapters["transformers_5"])),
        "text": (model_folder, ADAPTER),
    }
    found = {}
    for kind, (model, adapter) in models.items():
        loaded = load_plain(model, adapter)
        for tuned in (False, True):
            variant = of_the_text_model if tuned else None
            one_pass = of_variant(requests["onepass"], variant)
            prompts = [request.prompt for request in one_pass]
            digits = zip(
                of_variant(requests["bits"], variant),
                of_variant(completions["bits"], variant),
                strict=True,
            )
            with nullcontext() if tuned else loaded.disable_adapter():
                found[kind, tuned] = {
                    "onepass": expit(plain_logits(loaded, prompts, one_pass[0].ask.token_ids)),
                    "bits": np.array([follow(loaded, r.prompt, c.text, ids) for r, c in digits]),
                }
    return found


def follow(model: Any, prompt: list[int], digits: str, ids: tuple[int, int]) -> np.ndarray:
    """Return the probability of "1" at each of the digits that were answered, (21,)."""
    answer = [ids[int(digit)] for digit in digits]
    sequence, kept = torch.tensor([prompt + answer]), len(answer) + 1
    with torch.inference_mode():
        every = model(input_ids=sequence, logits_to_keep=kept).logits[0, :-1]
    zero, one = every[:, ids[0]], every[:, ids[1]]
    return np.asarray(expit((one - zero).numpy()))


@pytest.mark.parametrize("name", ["onepass", "bits"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_probabilities_are_those_of_transformers_on_wrapper_and_text_model(
    completions: dict[str, list[Completion]],
    references: dict[tuple[str, bool], dict[str, np.ndarray]],
    tokenizer: Any,
    variant: str | None,
    name: str,
) -> None:
    found = probabilities(name, of_variant(completions[name], variant), tokenizer)
    for kind in ("wrapper", "text"):
        expected = references[kind, variant is not None][name]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < CLOSE


def test_base_and_adapter_differ_in_one_batch(
    completions: dict[str, list[Completion]], tokenizer: Any
) -> None:
    base, *tuned = [
        probabilities("onepass", of_variant(completions["onepass"], v), tokenizer) for v in VARIANTS
    ]
    for found in tuned:
        assert np.abs(found - base).mean() > 20 * CLOSE


def test_json_is_an_answer_of_the_base_and_the_same_by_each_name(
    completions: dict[str, list[Completion]], tokenizer: Any
) -> None:
    base, *tuned = completions["json"]
    assert json_object(tokenizer).read(base, [0.5] * len(LABELS)).status == "ok"
    assert list(json.loads(base.text)) == list(LABELS)
    # The adapter is of one pass, and may spell the form's words until its tokens are used up.
    assert len({completion.text for completion in tuned}) == 1
    assert tuned[0].text.startswith(base.text[: base.text.index(":")])


OF_TEXT = {
    "model.language_model.layers.0.self_attn.q_proj": "model.layers.0.self_attn.q_proj",
    "language_model.model.embed_tokens": "model.embed_tokens",
    "language_model.lm_head": "lm_head",
    "model.text_model.norm": "model.norm",
    "model.layers.1.mlp.down_proj": "model.layers.1.mlp.down_proj",
    "lm_head": "lm_head",
}
NOT_OF_TEXT = [
    "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
    "model.vision_tower.encoder.layers.0.self_attn.q_proj",
    "multi_modal_projector.mm_input_projection_weight",
    "model.visual.blocks.0.attn.proj",
    "visual.merger.ln_q",
    "model.connector.modality_projection.proj",
    "image_newline",
]


@pytest.mark.parametrize("architecture", sorted(text_model._MODULES))
def test_a_text_model_takes_a_wrappers_names_and_leaves_what_sees_and_hears(
    architecture: str,
) -> None:
    names = getattr(text_model, architecture).hf_to_vllm_mapper.get_rename_mapper()
    assert {name: names.map_name(f"{name}.weight") for name in OF_TEXT} == {
        name: f"{own}.weight" for name, own in OF_TEXT.items()
    }
    mapper = getattr(text_model, architecture).hf_to_vllm_mapper
    assert [name for name in NOT_OF_TEXT if mapper.map_name(f"{name}.weight") is not None] == []


def test_each_wrapper_that_was_tried_is_known_to_vllm_with_its_text_model() -> None:
    from vllm import ModelRegistry

    text_model.register()
    known = ModelRegistry.get_supported_archs()
    found = {name for texts in text_model._WRAPPERS.values() for name in texts.values()}
    assert found <= known
    assert found == set(text_model._MODULES)
    assert set(text_model._WRAPPERS) <= set(CONFIG_MAPPING)


def test_the_module_has_no_other_classes() -> None:
    with pytest.raises(AttributeError, match="BertModel"):
        _ = text_model.BertModel
