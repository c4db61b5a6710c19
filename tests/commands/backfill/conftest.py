"""A backfill job with a small tokenizer in the place of a model, and one that is complete."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from tests.chaos.tokenizer import write_tokenizer
from tests.commands.backfill.opinions import backfill_values, write_opinions
from tests.conftest import logged

Config = Callable[..., BackfillConfig]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "model")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two shards of 10 opinions each, of which two are empty."""
    write_opinions(tmp_path / "in" / "a.parquet", 0, 10, empty=6)
    write_opinions(tmp_path / "in" / "b.parquet", 10, 10)
    return tmp_path / "in"


@pytest.fixture
def config(tmp_path: Path, source: Path, model: Path) -> Config:
    """Return a maker of backfills over the shards; groups are replaced whole."""

    def build(**groups: Any) -> BackfillConfig:
        values = backfill_values(source, tmp_path / "runs", model, **groups)
        return BackfillConfig.model_validate(values)

    return build


@dataclass(frozen=True)
class Complete:
    """A backfill that is done, and what it said."""

    folder: Path
    source: Path
    run: Path
    values: dict[str, Any]
    said: list[str]


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory, model: Path, cluster: None) -> Complete:
    """A backfill of two shards that went through, and then of a third that came later."""
    folder = tmp_path_factory.mktemp("complete")
    source, runs = folder / "in", folder / "runs"
    write_opinions(source / "a.parquet", 0, 10, empty=6)
    write_opinions(source / "b.parquet", 10, 10)
    values = backfill_values(
        source,
        runs,
        model,
        labelled={"partition_by": ["language", "month"], "rows_per_file": 400},
        price={"per_replica_hour": 2.5},
    )
    with logged() as said:
        backfill(BackfillConfig.model_validate(values))
        write_opinions(source / "c.parquet", 20, 5)
        said.append("-- a shard came --")
        report = backfill(BackfillConfig.model_validate(values))
    said.append(str(report))
    return Complete(folder, source, report.parent, values, said)
