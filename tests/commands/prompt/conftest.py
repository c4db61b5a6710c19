"""A job whose variant has a prompt file of its own, and the command on it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.commands.prompt import show
from medsent.config.labels import load_labels
from medsent.config.personas import load_personas
from medsent.models.source import load_tokenizer
from medsent.prompts.file import PromptFile
from medsent.prompts.prompter import Prompter
from tests.commands.prompt.lines import TEXT, Asked
from tests.conftest import JobBuilder


@pytest.fixture(scope="module")
def prompter(small_model: Path) -> Prompter:
    """What makes the prompts of the file `own`."""
    tokenizer = load_tokenizer(small_model)
    return Prompter(tokenizer, PromptFile(text=TEXT), load_personas(None), load_labels(None))


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    """A variant with a prompt file of its own."""
    (tmp_path / "prompt.yaml").write_text(yaml.safe_dump({"text": TEXT}))
    return {"method": "json", "prompt": str(tmp_path / "prompt.yaml")}


@pytest.fixture
def rows(demo_shard: Path) -> list[dict[str, Any]]:
    return pq.read_table(demo_shard).to_pylist()


@pytest.fixture
def shown(job: JobBuilder, own: dict[str, Any]) -> Asked:
    """Return a caller of the command, for a job with that variant, that gives back its lines."""

    def call(**given: Any) -> list[str]:
        groups = given.pop("groups", {"variants": {"own": own}})
        return list(show(job(**groups), **given))

    return call
