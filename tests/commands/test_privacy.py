"""A marker stands in every opinion: nothing that a job writes, whatever its end, holds it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands.evaluate import evaluate
from medsent.config.job import JobConfig
from medsent.engine.protocol import Completion, Engine, Request
from medsent.engine.scripted.faults import Faults
from medsent.errors import MedsentError
from medsent.input.records import RecordReader
from medsent.runs.blocks import unpacked
from medsent.scoring import pipeline, source
from medsent.scoring.plan import Plan
from medsent.scoring.scorer import Scorer
from tests.altered import scorer_whose_engine
from tests.conftest import MARKER, JobBuilder, captured, ray_files

pytestmark = pytest.mark.ray


@pytest.fixture
def marked(tmp_path: Path, demo_shard: Path) -> Path:
    """The demo's records, each with the marker at the start, the middle and the end of its text."""
    table = pq.read_table(demo_shard)
    texts = [f"{MARKER} {t[:30]} {MARKER} {t[30:]} {MARKER}" for t in table["text"].to_pylist()]
    column = table.schema.get_field_index("text")
    file = tmp_path / "marked.parquet"
    pq.write_table(table.set_column(column, "text", pa.array(texts)), file)
    return file


Spoil = Callable[[pytest.MonkeyPatch], None]


def nothing(_: pytest.MonkeyPatch) -> None:
    """The job succeeds."""


def an_engine_that_quotes(patch: pytest.MonkeyPatch) -> None:
    async def completes(_: Engine, request: Request) -> Completion:
        raise ValueError(f"cannot take {MARKER} of {request.prompt}")

    patch.setattr(pipeline, "Scorer", scorer_whose_engine(completes))


def a_scorer_that_fails_before_its_engine(patch: pytest.MonkeyPatch) -> None:
    class Failing(Scorer):
        async def _score(self, packed: pa.Table) -> pa.Table:
            raise KeyError(unpacked(packed)[1]["text"][0].as_py())

    patch.setattr(pipeline, "Scorer", Failing)


def an_engine_that_dies_of_all(patch: pytest.MonkeyPatch) -> None:
    faults = Faults(deadly_token=0).environment()

    class Deadly(Scorer):
        def _start(self, plan: Plan) -> Any:
            os.environ.update(faults)  # of its actor, whose engine inherits it
            return super()._start(plan)

    patch.setattr(pipeline, "Scorer", Deadly)


def a_row_that_cannot_be_read(patch: pytest.MonkeyPatch) -> None:
    class Failing(RecordReader):
        def _records(self, rows: pa.Table, path: str, first: int) -> pa.Table:
            raise KeyError(f"cannot cast {rows['text'][0]}")

    patch.setattr(source, "RecordReader", Failing)


def quoting(folder: Path) -> list[str]:
    """Return the files in a folder that hold the marker, packed Parquet columns included."""
    found = []
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        packed = str(pq.read_table(file).to_pylist()) if file.suffix == ".parquet" else ""
        if MARKER in packed or MARKER.encode() in file.read_bytes():
            found.append(str(file))
    return found


@pytest.mark.parametrize(
    ("spoil", "engine", "ends"),
    [
        (nothing, {}, None),
        (an_engine_that_quotes, {}, "EngineError"),
        (a_scorer_that_fails_before_its_engine, {}, "EngineError"),
        (a_row_that_cannot_be_read, {}, "ReadingError"),
        (an_engine_that_dies_of_all, {"supervision": {"max_deaths": 2}}, "EngineGoneError"),
    ],
    ids=["success", "engine", "scorer", "row", "deaths"],
)
def test_no_opinion_is_quoted_anywhere(
    spoil: Spoil,
    engine: dict[str, Any],
    ends: str | None,
    job: JobBuilder,
    marked: Path,
    cluster: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(monkeypatch)
    config: JobConfig = job(input={"path": str(marked)}, engine=engine)
    told = ""
    with captured() as (said, complained):
        try:
            evaluate(config)
        except MedsentError as error:
            told = f"{type(error).__name__}: {error}"
    assert told.partition(":")[0] == (ends or "")
    [run] = (tmp_path / "runs").iterdir()
    assert (run / "report.html").exists() == (ends is None)
    assert MARKER not in said.getvalue() + complained.getvalue() + told
    assert quoting(run) == []
    for file in ray_files():
        assert MARKER.encode() not in file.read_bytes(), file


def test_the_search_finds_what_it_searches_for(marked: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    shutil.copy(marked, tmp_path / "logs" / "some.parquet")
    (tmp_path / "logs" / "a.log").write_text(f"cannot cast {MARKER} to int")
    (tmp_path / "logs" / "b.log").write_text("cannot cast")
    assert sorted(Path(file).name for file in quoting(tmp_path / "logs")) == [
        "a.log",
        "some.parquet",
    ]
