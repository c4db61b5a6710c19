"""What every contender is given: synthetic opinions of 16 readers, their prompts as token ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from medsent.answers.file import shipped_answer
from medsent.answers.method import Method, method_named
from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.config.labels import load_labels
from medsent.config.methods import MethodName
from medsent.config.personas import load_personas
from medsent.demo.data import Split, shard_table
from medsent.engine.protocol import Request
from medsent.engine.vllm import EnginePlan
from medsent.prompts.file import PromptFile, shipped_prompt
from medsent.prompts.prompter import Prompter

READERS: Final = 16
ADAPTER: Final = Path("medsent/demo/adapter").resolve()
ADAPTED: Final = "finetuned"
MAX_MODEL_LEN: Final = 1024

_SEED = 11

Row = dict[str, Any]


def write_shard(file: Path, records: int, readers: int = READERS) -> list[Row]:
    """Write a shard of `records` records, whole opinions; return its rows in the file's order."""
    split = Split(opinions=records // readers, readers=readers, shards=1, seed=_SEED)
    table = shard_table("bench", split, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    rows: list[Row] = table.to_pylist()
    return rows


def engine_plan(model: Path, adapted: bool, written: bool) -> EnginePlan:
    """Return the engine that every contender on vLLM starts."""
    return EnginePlan(
        str(model),
        VllmSettings(device="cpu"),
        ModelSettings(source=str(model), max_model_len=MAX_MODEL_LEN),
        {ADAPTED: str(ADAPTER)} if adapted else {},
        written,
    )


class Asker:
    """Turns rows into requests as the job does: an opinion's readers one after the other."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._personas, self._labels = load_personas(None), load_labels(None)

    def method(self, name: MethodName) -> Method:
        """Return an answer method for the model."""
        return method_named(name).bind(self._tokenizer, self._labels, shipped_answer())

    def requests(
        self, rows: Sequence[Row], name: MethodName, adapter: str | None = None
    ) -> list[Request]:
        """Return the opinion-first requests that the job sends."""
        return self._requests(rows, name, shipped_prompt(name), adapter)

    def persona_first(self, rows: Sequence[Row]) -> list[Request]:
        """Return `onepass` requests of the same words with the reader before the opinion."""
        return self._requests(rows, "onepass", _reader_before(shipped_prompt("onepass")), None)

    def _requests(
        self, rows: Sequence[Row], name: MethodName, prompt: PromptFile, adapter: str | None
    ) -> list[Request]:
        prompter = Prompter(self._tokenizer, prompt, self._personas, self._labels)
        ask, asked = self.method(name).ask, [_asked(row) for row in _ordered(rows)]
        return [Request(ids, ask, adapter) for ids in prompter.prompts(asked)]


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["text"], row["persona"]))


def _asked(row: Row) -> tuple[str, str, str]:
    return row["text"], row["language"], row["persona"]


def _reader_before(prompt: PromptFile) -> PromptFile:
    """Return a prompt with its last line, the reader's, before the others."""
    assert prompt.messages is not None
    asked, begun = prompt.messages
    assert isinstance(asked.content, str)
    *opinion, reader = asked.content.splitlines()
    turned = "\n".join([reader, *opinion, ""])
    return PromptFile(messages=(asked.model_copy(update={"content": turned}), begun))
