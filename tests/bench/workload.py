"""What every contender is given: synthetic opinions of 16 readers, their prompts as token ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from medsent.answers.method import Method, method_for
from medsent.config import MethodName, ModelSettings, VllmSettings
from medsent.demo.data import Split, shard_table
from medsent.engine.protocol import Request
from medsent.engine.vllm import EnginePlan
from medsent.personas import Persona, load_personas
from medsent.prompts import Prompter, PromptText

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
        self._personas = load_personas(None)

    def method(self, name: MethodName) -> Method:
        """Return an answer method for the model."""
        return method_for(name, self._tokenizer)

    def requests(
        self, rows: Sequence[Row], name: MethodName, adapter: str | None = None
    ) -> list[Request]:
        """Return the opinion-first requests that the job sends."""
        method = self.method(name)
        prompter = Prompter(self._tokenizer, method.prompt, self._personas)
        return [
            Request(prompter.prompt(*_asked(row)), method.ask, adapter) for row in _ordered(rows)
        ]

    def persona_first(self, rows: Sequence[Row]) -> list[Request]:
        """Return `onepass` requests of the same words with the reader before the opinion."""
        method = self.method("onepass")
        by_reader = {
            (row["persona"], row["language"]): Prompter(
                self._tokenizer,
                _reader_before(method.prompt, self._personas[row["persona"]], row),
                {},
            )
            for row in rows
        }
        return [
            Request(
                by_reader[row["persona"], row["language"]].prompt(
                    row["text"], row["language"], None
                ),
                method.ask,
                None,
            )
            for row in _ordered(rows)
        ]


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["text"], row["persona"]))


def _asked(row: Row) -> tuple[str, str, str]:
    return row["text"], row["language"], row["persona"]


def _reader_before(text: PromptText, persona: Persona, row: Row) -> PromptText:
    reader = text.reader.format(reader=persona.describe(row["language"]))
    return PromptText(reader.lstrip() + text.instructions, "\n", text.cue)
