"""The whole way with the scripted engine: every row has one outcome, whatever it holds."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from medsent import predictions
from medsent.commands.evaluate import evaluate
from medsent.config.engine import ScriptedSettings, VllmSettings
from medsent.config.labels import LABELS
from medsent.engine.protocol import Completion, Engine, Request
from medsent.errors import AdapterError
from medsent.runs.blocks import unpacked
from medsent.scoring import pipeline
from medsent.scoring.scorer import Scorer
from tests.altered import scorer_whose_engine
from tests.asked import shipped_prompter
from tests.conftest import (
    HOSTILE_TEXTS,
    MARKER,
    SCRIPT,
    AdapterWriter,
    Finished,
    JobBuilder,
    predictions_of,
    ray_files,
)

pytestmark = pytest.mark.ray

VARIANTS = ["plain", "tuned", "digits", "object"]


def test_every_row_has_one_outcome(finished: Finished) -> None:
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert manifest["records"] == {
        "input": 15,
        "scored": 9,
        "quarantined": 6,
        "by_reason": {
            "empty_text": 2,
            "too_long": 1,
            "bad_type": 1,
            "unknown_persona": 1,
            "bad_labels": 1,
        },
        "duplicate_record_ids": 2,
        "retries": 0,
        "foreign": 1,
    }
    table = predictions_of(finished.folder)
    assert len(set(table["row_hash"].to_pylist())) == table.num_rows == 15
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert {k: metrics["records"][k] for k in ("input", "scored", "quarantined")} == {
        "input": 15,
        "scored": 9,
        "quarantined": 6,
    }
    assert metrics["records"]["by_reason"] == manifest["records"]["by_reason"]


def test_quarantined_rows_flow_to_the_output(finished: Finished) -> None:
    rows = predictions_of(finished.folder).to_pylist()
    reasons = {row["record_id"]: row["reason"] for row in rows if row["reason"]}
    assert reasons == {
        "5": "empty_text",
        "6": "empty_text",
        "7": "too_long",
        "8": "bad_type",
        "101": "unknown_persona",
        "105": "bad_labels",
    }
    for row in rows:
        assert row["outcome"] == ("quarantined" if row["reason"] else "scored")
        for variant in VARIANTS:
            assert (row[variant] is None) == (row["reason"] is not None)


def test_the_files_have_the_stated_schema(finished: Finished) -> None:
    expected = predictions.schema(VARIANTS, LABELS, [pa.field("clinic", pa.string())])
    files = sorted((finished.folder / "predictions").glob("*.parquet"))
    assert len(files) > 1
    for file in files:
        assert pq.read_schema(file).equals(expected)


def test_columns_of_the_shards_come_through(finished: Finished) -> None:
    rows = {row["record_id"]: row for row in predictions_of(finished.folder).to_pylist()}
    assert rows["0"]["persona"] == "nurse"
    assert rows["1"]["persona"] == f"{SCRIPT}|*reader*"
    assert rows["102"]["persona"] is None
    assert rows["2"]["language"] == "de"
    assert rows["0"]["clinic"] == f"{SCRIPT}0"
    assert rows["0"]["path"] == str((finished.source / "a.parquet").resolve())
    assert rows["100"]["path"] == str((finished.source / "b.parquet").resolve())
    assert rows["0"]["gold"] == {label: int(label in ("positive", "calm")) for label in LABELS}
    assert rows["1"]["gold"] == dict.fromkeys(LABELS, 0)
    assert rows["2"]["gold"] is rows["105"]["gold"] is None
    assert rows["100"]["gold"]["sadness"] == 1


def test_each_method_answers_in_its_way(finished: Finished, tokenizer: Any) -> None:
    scored = [row for row in predictions_of(finished.folder).to_pylist() if not row["reason"]]
    prompter = shipped_prompter(tokenizer)
    for row in scored:
        for variant in VARIANTS:
            made = row[variant]
            assert made["status"] == "ok"
            assert set(made["labels"]) == set(LABELS)
            assert made["attempt"] == 1
            assert made["replica"]
        for variant in ("plain", "tuned", "digits", "object"):
            chances = row[variant]["probabilities"]
            assert {label: p >= 0.5 for label, p in chances.items()} == row[variant]["labels"]
        assert json.loads(row["object"]["answer"]) == row["object"]["labels"]
        assert len(row["digits"]["answer"]) == len(LABELS)
        assert row["plain"]["answer"] is None
        assert row["plain"]["probabilities"] != row["tuned"]["probabilities"]
    shortest = next(row for row in scored if row["record_id"] == "102")
    length = len(prompter.prompt(f"{MARKER} second 2", "pl", None))
    assert shortest["plain"]["prompt_tokens"] == length


def test_no_opinion_is_quoted_anywhere(finished: Finished) -> None:
    """Neither in what the run wrote nor on the terminal, nor in Ray's own logs."""
    for name in (
        "metrics.json",
        "report.md",
        "report.html",
        "log.jsonl",
        "manifest.json",
        "config.yaml",
    ):
        assert MARKER not in (finished.folder / name).read_text(encoding="utf-8"), name
    assert MARKER not in finished.said
    assert MARKER not in finished.complained
    for file in (finished.folder / "predictions").glob("*.parquet"):
        assert MARKER not in str(pq.read_table(file).to_pylist())
    for log in ray_files():
        assert MARKER not in log.read_text(errors="replace"), log


def test_names_from_the_data_are_shown_as_text(finished: Finished) -> None:
    """Readers and kept columns are named in the report, and must not be run by a browser."""
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert SCRIPT not in page
    assert SCRIPT not in (finished.folder / "report.md").read_text(encoding="utf-8")
    metrics = json.loads((finished.folder / "metrics.json").read_text(encoding="utf-8"))
    assert f"persona={SCRIPT}|*reader*" in metrics["variants"]["plain"]["slices"]


def test_the_input_was_hostile_indeed(finished: Finished) -> None:
    texts = pq.read_table(finished.source / "a.parquet", columns=["comment"])["comment"]
    raw = b" ".join(texts.cast(pa.large_binary()).to_pylist()).decode(errors="replace")
    for text in HOSTILE_TEXTS:
        assert text in raw
    assert raw.count(MARKER) == 7


@pytest.fixture
def scorer_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[list[str]]]:
    """Return a reader of the texts in each batch that a scorer of this test got."""
    folder = tmp_path / "batches"
    folder.mkdir()

    class Noting(Scorer):
        async def _score(self, packed: pa.Table) -> pa.Table:
            [(name, _, _)], records = unpacked(packed)
            pq.write_table(records.select(["text"]), folder / f"{name}.parquet")
            return await super()._score(packed)

    monkeypatch.setattr(pipeline, "Scorer", Noting)
    return lambda: [pq.read_table(file)["text"].to_pylist() for file in folder.iterdir()]


def test_an_opinion_reaches_a_scorer_whole_however_its_records_lie(
    job: JobBuilder,
    cluster: None,
    demo_shard: Path,
    tmp_path: Path,
    scorer_batches: Callable[[], list[list[str]]],
) -> None:
    """Rows stay in their order from the reader to the scorer, and blocks end where it meant."""
    shard = tmp_path / "shard.parquet"
    dealt = [row for reader in range(4) for row in range(reader, 24, 4)]
    pq.write_table(pq.read_table(demo_shard).take(dealt), shard)
    evaluate(job(input={"path": str(shard)}, engine={"rows_per_block": 8}))
    batches = scorer_batches()
    assert [len(batch) for batch in batches] == [8, 8, 8]
    for batch in batches:
        assert sorted(Counter(batch).values()) == [4, 4]
    lengths = [sum(map(len, batch)) for batch in batches]
    assert max(lengths) < 1.5 * min(lengths)


@pytest.mark.parametrize(
    ("engine", "on_gpu", "blocks"),
    [
        (VllmSettings(), True, 5),
        (VllmSettings(rows_per_block=200), False, 2),
        (VllmSettings(rows_per_block=16), False, 5),
        (VllmSettings(rows_per_block=16), True, 32),
        (VllmSettings(rows_per_block=100), True, 12),
        (VllmSettings(rows_per_block=1024, max_num_seqs=512), True, 2),
        (VllmSettings(rows_per_block=256, max_num_seqs=512), True, 3),
        (VllmSettings(rows_per_block=1), True, 32),
        (ScriptedSettings(kind="scripted", rows_per_block=4, max_num_seqs=1), True, 2),
        (ScriptedSettings(kind="scripted", rows_per_block=4, max_num_seqs=9), False, 4),
    ],
)
def test_blocks_in_flight_keep_an_engine_busy(
    engine: VllmSettings | ScriptedSettings, on_gpu: bool, blocks: int
) -> None:
    assert pipeline.blocks_in_flight(engine, on_gpu, engine.rows_per_block) == blocks


def test_an_adapter_without_effect_stops_the_job(
    job: JobBuilder,
    cluster: None,
    write_adapter: AdapterWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def as_the_base_model(engine: Engine, request: Request) -> Completion:
        return await engine.complete(Request(request.prompt, request.ask, None))

    monkeypatch.setattr(pipeline, "Scorer", scorer_whose_engine(as_the_base_model))
    adapter = {"adapter": str(write_adapter(tmp_path / "adapter"))}
    config = job(variants={"plain": {}, "tuned": adapter})
    with pytest.raises(AdapterError, match=r"^variants\.tuned\.adapter changes nothing"):
        evaluate(config)
    [folder] = (tmp_path / "runs").iterdir()
    assert not (folder / "manifest.json").exists()
    written = folder / "predictions"
    assert not written.exists() or ds.dataset(written).count_rows() == 0
