"""An adapter that `pipeline` trained, asked as it was trained and asked otherwise."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from medsent.config.labels import LABELS, load_labels
from medsent.config.personas import load_personas
from medsent.demo.data import Split, shard_table
from medsent.predictions import label_matrix
from medsent.prompts.file import load_prompt
from medsent.prompts.prompter import Prompter
from tests.conftest import command, predictions_of
from tests.foreign.pipeline import prompt_ids, read_personas, render
from tests.plain import load_plain

HERE = Path(__file__).parent
ADAPTER = HERE / "adapter"
RECORDS = 40

pytestmark = [pytest.mark.engine, pytest.mark.campaign]


@dataclass(frozen=True)
class Foreign:
    """Opinions that the adapter has not seen, and a job that asks it."""

    rows: list[dict[str, Any]]
    job: Path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    folder = tmp_path_factory.mktemp("foreign")
    asked = shard_table("test", Split(opinions=RECORDS // 4, readers=4, shards=1, seed=12), 0)
    (folder / "test").mkdir()
    pq.write_table(asked, folder / "test" / "part-00000.parquet")
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(_job(folder)), encoding="utf-8")
    return Foreign(asked.to_pylist(), job)


def _job(folder: Path) -> dict[str, Any]:
    own = {"prompt": str(HERE / "prompt.yaml"), "answer": str(HERE / "answer.yaml")}
    return {
        "name": "foreign",
        "input": {"path": str(folder / "test")},
        "output": {"path": str(folder / "runs")},
        "model": {"source": "builtin:gemma-3-270m", "max_model_len": 1024, "dtype": "float32"},
        "variants": {
            "as_trained": {"method": "json", "adapter": str(ADAPTER), **own},
            "by_default": {"method": "json", "adapter": str(ADAPTER)},
        },
        "compare": [{"baseline": "by_default", "candidate": "as_trained"}],
    }


@pytest.fixture(scope="module")
def prompts(foreign: Foreign, tokenizer: Any) -> list[list[int]]:
    personas = read_personas("medsent/config/personas.yaml")
    return [prompt_ids(tokenizer, row, personas) for row in foreign.rows]


@pytest.fixture(scope="module")
def run(foreign: Foreign, cluster: None) -> Path:
    done = command("evaluate", str(foreign.job))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1]).parent


def test_it_is_asked_with_the_very_tokens_of_its_training(
    foreign: Foreign, prompts: list[list[int]], tokenizer: Any
) -> None:
    prompt, personas = load_prompt(HERE / "prompt.yaml"), load_personas(None)
    prompter = Prompter(tokenizer, prompt, personas, load_labels(None))
    rows = [(row["text"], row["language"], row["persona"]) for row in foreign.rows]
    assert prompter.prompts(rows) == prompts


def test_the_command_says_so_and_finds_another_prompt(
    foreign: Foreign, prompts: list[list[int]], tmp_path: Path
) -> None:
    ids, texts = tmp_path / "ids.jsonl", tmp_path / "texts.jsonl"
    ids.write_text("\n".join(map(json.dumps, prompts)))
    personas = read_personas("medsent/config/personas.yaml")
    texts.write_text("\n".join(json.dumps(render(row, personas)) for row in foreign.rows))
    for file in (ids, texts):
        told = command("prompt", str(foreign.job), "--variant=as_trained", f"--against={file}")
        assert told.returncode == 0, told.stderr
        assert f"equal in all {RECORDS}" in told.stdout
    other = command("prompt", str(foreign.job), "--variant=by_default", f"--against={texts}")
    assert other.returncode == 1
    assert "line 1" in other.stdout + other.stderr


def test_check_says_that_nothing_tells_how_it_was_trained(foreign: Foreign) -> None:
    told = command("check", str(foreign.job))
    assert told.returncode == 0, told.stderr
    warnings = [line for line in told.stdout.splitlines() if line.startswith("Warning")]
    assert any("by_default" in line and "names no prompt" in line for line in warnings)
    assert any("as_trained" in line and "before the opinion" in line for line in warnings)


def test_its_decisions_are_those_of_transformers(
    foreign: Foreign, run: Path, prompts: list[list[int]], model_folder: Path, tokenizer: Any
) -> None:
    answers = _generated(load_plain(model_folder, ADAPTER), prompts, tokenizer)
    table = predictions_of(run)
    of_record = dict(
        zip(table["record_id"].to_pylist(), table["as_trained"].to_pylist(), strict=True)
    )
    agreed = compared = 0
    for row, text in zip(foreign.rows, answers, strict=True):
        ours = of_record[row["record_id"]]
        theirs = _labels(text)
        assert (theirs is not None) == (ours["status"] == "ok")
        if theirs is not None:
            agreed += sum(ours["labels"][label] == (label in theirs) for label in LABELS)
            compared += len(LABELS)
    assert compared > 0.8 * RECORDS * len(LABELS)
    assert agreed >= 0.98 * compared


def test_asked_by_default_it_is_much_worse(run: Path) -> None:
    table = predictions_of(run)
    gold = label_matrix(table["gold"].combine_chunks(), "")
    own, default = (
        _micro_f1(gold, label_matrix(table[name].combine_chunks(), "labels"))
        for name in ("as_trained", "by_default")
    )
    assert own > default + 0.1


def _generated(model: Any, prompts: list[list[int]], tokenizer: Any) -> list[str]:
    """Return what transformers answers, greedily, all prompts at once."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids, attention_mask=(ids != 0).long(), max_new_tokens=96, do_sample=False
        )
    return [tokenizer.decode(row[width:], skip_special_tokens=True) for row in made]


def _labels(text: str) -> list[str] | None:
    """Read an answer as a simple script would: all of it is the JSON."""
    try:
        labels = json.loads(text)["labels"]
    except (ValueError, KeyError, TypeError):
        return None
    return labels if set(labels) <= set(LABELS) else None


def _micro_f1(gold: npt.NDArray[np.int8], given: npt.NDArray[np.int8]) -> float:
    known = given >= 0
    right = int((known & (gold == 1) & (given == 1)).sum())
    wrong = int((known & (gold != given)).sum())
    return 2 * right / (2 * right + wrong)
