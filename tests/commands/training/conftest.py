"""A tiny random Gemma 3 with the real tokenizer, and a few synthetic opinions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
)

from medsent.commands.training import run
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.readings import Readings
from medsent.config.labels import LABELS
from medsent.config.personas import load_personas
from medsent.demo.data import Split, shard_table
from medsent.engine import cpu

_WINDOW = 8


@pytest.fixture(scope="session")
def tiny_gemma() -> Callable[[int], Any]:
    """Makes a random float32 Gemma 3 whose first and last layers see 8 tokens back."""

    def make(vocabulary: int) -> Any:
        torch.manual_seed(0)
        config = Gemma3TextConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=_WINDOW,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        )
        return Gemma3ForCausalLM(config).eval()

    return make


@pytest.fixture(scope="session")
def tiny_model(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, tiny_gemma: Callable[[int], Any]
) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_gemma(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_wrapper(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, tiny_gemma: Callable[[int], Any]
) -> Path:
    """The tiny model's weights behind a random vision tower."""
    text = tiny_gemma(len(tokenizer))
    sight = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    sight |= {"num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    shape: Any = Gemma3Config(
        text_config=text.config.to_dict(), vision_config=sight, mm_tokens_per_image=4
    )
    whole = Gemma3ForConditionalGeneration(shape)
    whole.model.language_model.load_state_dict(text.model.state_dict())
    folder = tmp_path_factory.mktemp("tiny-wrapper")
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` (16 opinions) and `validation` (8), each opinion read by 3 readers."""
    folder = tmp_path_factory.mktemp("data")
    for name, opinions, seed in (("train", 16, 101), ("validation", 8, 102)):
        (folder / name).mkdir()
        table = shard_table(name, Split(opinions=opinions, readers=3, shards=1, seed=seed), 0)
        pq.write_table(table, folder / name / "part-00000.parquet")
    return folder


@pytest.fixture(scope="session")
def validation(data: Path) -> Readings:
    return Readings.read(str(data / "validation"), {}, load_personas(None), LABELS)


@pytest.fixture
def config(tiny_model: Path, data: Path, tmp_path: Path) -> TrainingConfig:
    """Eight steps over two epochs, a checkpoint at each."""
    return TrainingConfig.model_validate(
        {
            "name": "tiny",
            "model": {"source": str(tiny_model), "dtype": "float32"},
            "data": {"train": str(data / "train"), "validation": str(data / "validation")},
            "output": str(tmp_path / "adapter"),
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
            "optimiser": {
                "learning_rate": 0.02,
                "opinions_per_step": 4,
                "epochs": 2,
                "checkpoints": 8,
                "evaluations": 2,
            },
            "threads": 1,
            "note": "Synthetic.",
        }
    )


@pytest.fixture(autouse=True)
def _tokenizer_read_once(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    """The tiny model's tokenizer is the embedded one's, and takes seconds to read."""
    monkeypatch.setattr(run, "load_tokenizer", lambda _: tokenizer)


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as a CPU without fast products of 16 bits does, whose rounding would hide a change."""
    monkeypatch.setattr(cpu, "compute_dtype", lambda _: "float32")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
