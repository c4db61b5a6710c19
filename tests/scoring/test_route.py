"""A staged roll-out: who is asked, whose answer counts, and what the report makes of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from medsent import predictions
from medsent.answers.method import Answer
from medsent.commands.backfill.rows import labelled_rows
from medsent.commands.backfill.rows import schema as labelled_schema
from medsent.commands.compare import compare_runs
from medsent.commands.evaluate import evaluate, requeue
from medsent.commands.requeue import Selection
from medsent.config.job import JobConfig, RouteSettings
from medsent.config.labels import LABELS
from medsent.demo.data import Split, shard_table
from medsent.engine.protocol import Completion, Engine, Request
from medsent.errors import EngineError
from medsent.metrics.model import Metrics, read_metrics
from medsent.predictions import ROUTED
from medsent.runs.folder import RunFolder
from medsent.scoring import pipeline
from medsent.scoring.block import Block, Reply
from medsent.scoring.bound_variant import bind_variants
from medsent.scoring.plan import make_plan
from medsent.scoring.route import for_candidate
from medsent.scoring.scorer import Scorer
from tests.altered import scorer_whose_engine
from tests.conftest import JobBuilder, merged, predictions_of, scripted_values
from tests.input.record_rows import records

VARIANTS = {"baseline": {"method": "onepass"}, "finetuned": {"method": "bits"}}
ROUTE = {"candidate": "finetuned", "fallback": "baseline"}


def taken(share: float, ids: list[str | None]) -> np.ndarray:
    route = RouteSettings(candidate="a", fallback="b", share=share)
    return for_candidate(route, pa.chunked_array([ids], pa.string()))


def test_a_larger_share_holds_a_smaller_one() -> None:
    ids: list[str | None] = [f"opinion {i}" for i in range(4000)]
    before = taken(0.0, ids)
    assert not before.any()
    for share in (0.01, 0.05, 0.2, 0.5, 0.99, 1.0):
        now = taken(share, ids)
        assert now.mean() == pytest.approx(share, abs=0.02)
        assert (now | ~before).all()
        before = now
    assert before.all()


def test_all_records_of_an_opinion_go_the_same_way() -> None:
    ids: list[str | None] = [f"opinion {i % 50}" for i in range(400)]
    ways = taken(0.5, ids).reshape(8, 50)
    assert (ways == ways[0]).all()
    assert 0 < ways[0].sum() < 50
    assert (taken(0.5, ids[::-1])[::-1] == ways.ravel()).all()
    assert taken(1.0, [None, "a"]).all()


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"route": {**ROUTE, "share": 1.5}}, "less than or equal to 1"),
        ({"route": {**ROUTE, "candidate": "gone", "share": 0.1}}, "route names 'gone'"),
        ({"route": {**ROUTE, "fallback": "finetuned", "share": 0.1}}, "both 'finetuned'"),
        ({"variants": {**VARIANTS, "third": {}}}, "variants.third would never be asked"),
        (
            {"compare": [{"baseline": "baseline", "candidate": "finetuned"}]},
            "compare is on records with usable answers of both",
        ),
        ({"input": {"path": "in", "keep": ["routed"]}}, "'routed' is a column"),
        (
            {
                "variants": {"routed": {}, "baseline": {}},
                "route": {"candidate": "routed", "fallback": "baseline", "share": 0.1},
            },
            "'routed' is a column",
        ),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(groups: dict[str, Any], told: str) -> None:
    values = {
        "name": "a",
        "input": {"path": "in"},
        "model": {"source": "m"},
        "variants": VARIANTS,
        "route": {**ROUTE, "share": 0.1},
    }
    with pytest.raises(ValidationError, match=told):
        JobConfig.model_validate({**values, **groups})


def test_a_wider_share_is_another_run_but_where_the_run_grows(job: JobBuilder) -> None:
    def prints(grows: bool, **route: Any) -> str:
        config = job(variants=VARIANTS, input={"grows": grows}, route={**ROUTE, **route})
        return make_plan(config).fingerprint

    assert prints(False, share=0.1) == prints(False, share=0.1)
    assert prints(False, share=0.1) != prints(False, share=0.2)
    assert prints(True, share=0.1) == prints(True, share=0.2)
    turned = {"candidate": "baseline", "fallback": "finetuned"}
    assert prints(True, share=0.1) != prints(True, share=0.1, **turned)
    plain = make_plan(job(variants=VARIANTS, input={"grows": True})).fingerprint
    assert prints(True, share=0.1) != plain


def test_a_record_asks_one_variant_and_the_fallback_where_it_must(
    job: JobBuilder, tokenizer: Any
) -> None:
    route = RouteSettings(**ROUTE, share=0.5)
    ids = [f"opinion {i}" for i in range(12)]
    mine = [i for i in range(12) if taken(0.5, ids)[i]]
    others = [i for i in range(12) if i not in mine]
    config = job(variants=VARIANTS, route=route.model_dump())
    bound_variants = bind_variants(make_plan(config), tokenizer)
    assert [bound.name for bound in bound_variants] == ["finetuned", "baseline"]
    candidate, fallback = bound_variants
    table = records(*({"opinion_id": name, "text": name} for name in ids))
    block = Block(table, bound_variants, 1024, route)
    assert sorted(block.asked(candidate)) == mine
    for index in mine:
        block.put(index, candidate, Reply(Answer("ok"), None))
    block.put(mine[0], candidate, Reply(Answer("truncated"), None))
    block.quarantine(mine[1])
    assert sorted(block.asked(fallback)) == sorted([*others, mine[0]])
    for index in block.asked(fallback):
        block.put(index, fallback, Reply(Answer("engine_error"), None))
    wanted = predictions.schema(["baseline", "finetuned"], LABELS, routed=True)
    rows = block.table(wanted, "replica").to_pylist()
    for index, row in enumerate(rows):
        own = index in mine and index != mine[1]
        assert (row["finetuned"] is not None) == own
        assert (row["baseline"] is not None) == (index in [*others, mine[0]])
        used = "finetuned" if own and index != mine[0] else "baseline"
        assert row[ROUTED] == (None if index == mine[1] else used)


def refusing() -> type[Scorer]:
    """Return a scorer whose engine refuses some of the candidate's requests."""

    async def completes(engine: Engine, request: Request) -> Completion:
        if request.ask.form is not None and len(request.prompt) % 4 == 0:
            raise EngineError("the engine was told to refuse")
        return await engine.complete(request)

    return scorer_whose_engine(completes)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routes")


@pytest.fixture(scope="module")
def values(work: Path, small_model: Path) -> dict[str, Any]:
    """A job over 40 opinions, each read by two readers."""
    source = work / "in" / "a.parquet"
    source.parent.mkdir()
    pq.write_table(shard_table("test", Split(opinions=40, readers=2, shards=1, seed=3), 0), source)
    groups = {
        "name": "routed",
        "variants": VARIANTS,
        "route": {**ROUTE, "share": 0.4},
        "engine": {"rows_per_block": 16},
        "statistics": {"replicates": 100, "slices": ["language"]},
    }
    return merged(scripted_values(source.parent, work / "runs", small_model), groups)


@pytest.fixture(scope="module")
def run(values: dict[str, Any], cluster: None) -> Path:
    """The folder of a complete run in which the candidate's engine refused some records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Scorer", refusing())
        return evaluate(JobConfig.model_validate(values)).parent


@pytest.fixture(scope="module")
def rows(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = predictions_of(run).to_pylist()
    return found


@pytest.fixture(scope="module")
def metrics(run: Path) -> Metrics:
    return read_metrics(run / "metrics.json")


def status(row: dict[str, Any], variant: str) -> str | None:
    return row[variant] and row[variant]["status"]


@pytest.mark.ray
def test_the_predictions_tell_whose_answer_counts(rows: list[dict[str, Any]]) -> None:
    ways = {row["opinion_id"]: row["finetuned"] is not None for row in rows}
    mine = taken(0.4, [row["opinion_id"] for row in rows])
    assert 0 < sum(ways.values()) < len(ways) == 40
    seen = set()
    for row, chosen in zip(rows, mine, strict=True):
        assert (row["finetuned"] is not None) == ways[row["opinion_id"]] == chosen
        seen.add((row[ROUTED], status(row, "finetuned"), status(row, "baseline")))
    assert seen == {
        ("finetuned", "ok", None),
        ("baseline", "engine_error", "ok"),
        ("baseline", None, "ok"),
    }


def counted(rows: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Return tp, fp, fn, tn of each label, counted one by one."""
    found = {}
    for label in LABELS:
        pairs = [(r["gold"][label], a["labels"][label]) for r, a in zip(rows, answers, strict=True)]
        found[label] = [pairs.count(pair) for pair in ((1, True), (0, True), (1, False))]
        found[label].append(pairs.count((0, False)))
    return found


@pytest.mark.ray
def test_figures_are_of_the_records_that_were_asked(
    rows: list[dict[str, Any]], metrics: Metrics
) -> None:
    own = [row for row in rows if row["finetuned"]]
    usable = [row for row in own if status(row, "finetuned") == "ok"]
    others = [row for row in rows if row["baseline"]]
    wanted = {
        "finetuned": (len(own), usable, [row["finetuned"] for row in usable]),
        "baseline": (len(others), others, [row["baseline"] for row in others]),
        ROUTED: (len(rows), rows, [row[row[ROUTED]] for row in rows]),
    }
    assert list(metrics.variants) == ["baseline", "finetuned", ROUTED]
    for name, (asked, answered, answers) in wanted.items():
        found = metrics.variants[name]
        assert (found.overall.rows, found.overall.answered_rows) == (asked, len(answered))
        assert "no_prediction" not in found.answer_statuses
        success = found.overall.generation_success_rate
        assert success is not None
        assert success.value == len(answered) / asked
        cells = {k: [v.tp, v.fp, v.fn, v.tn] for k, v in found.labels.items()}
        assert cells == counted(answered, answers)
        assert sum(each.overall.rows for each in found.slices.values()) == asked
    assert metrics.variants["finetuned"].throughput is not None
    assert metrics.variants["finetuned"].throughput.records == len(usable)
    assert metrics.variants[ROUTED].throughput is None


@pytest.mark.ray
def test_the_report_tells_the_route_and_compares_nothing(
    run: Path, rows: list[dict[str, Any]], metrics: Metrics
) -> None:
    asked = sum(row["finetuned"] is not None for row in rows)
    fell = sum(status(row, "finetuned") == "engine_error" for row in rows)
    assert metrics.comparisons == []
    assert metrics.route is not None
    assert (metrics.route.share, metrics.route.asked, metrics.route.fell_back) == (0.4, asked, fell)
    report = (run / "report.md").read_text(encoding="utf-8")
    assert f"finetuned was asked about {asked} of 80 scored records" in report
    assert f"on {fell} of these its answer could not be used" in report
    assert "No record has usable answers of both" in report
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["records"]["scored"] == len(rows) == 80


@pytest.mark.ray
def test_rows_that_fell_back_can_be_requeued(
    run: Path, rows: list[dict[str, Any]], tmp_path: Path, said: list[str]
) -> None:
    again = Path(shutil.copytree(run, tmp_path / run.name))
    requeue(again, Selection(status="engine_error"))
    fell = sum(status(row, "finetuned") == "engine_error" for row in rows)
    assert said[0] == f"Requeued {fell} records of {again}"
    mended = predictions_of(again).to_pylist()
    assert [row["row_hash"] for row in mended] == [row["row_hash"] for row in rows]
    for row in mended:
        assert (row[ROUTED] == "finetuned") == (row["finetuned"] is not None)
        assert (row["finetuned"] is None) != (row["baseline"] is None)
    # Two runs are compared on what the variant was asked about in both.
    compare_runs(run, again, ("finetuned", "finetuned"), None)
    [compared] = (again.parent).glob("compare-*/metrics.json")
    own = sum(row["finetuned"] is not None for row in rows)
    found = read_metrics(compared)
    assert found.records.scored == own
    assert found.comparisons[0].records == own - fell


@pytest.mark.ray
def test_a_run_that_grows_takes_the_wider_share_for_what_is_new(
    values: dict[str, Any], work: Path, run: Path
) -> None:
    source = work / "grows"
    source.mkdir()
    table = pq.read_table(work / "in" / "a.parquet")
    groups = {"name": "grows", "input": {"path": str(source), "grows": True}}
    folders = []
    for number, share in enumerate((0.0, 1.0)):
        pq.write_table(table.slice(40 * number, 40), source / f"{number}.parquet")
        config = merged(values, {**groups, "route": {"share": share}})
        folders.append(evaluate(JobConfig.model_validate(config)).parent)
    assert folders[0] == folders[1]
    by_shard = {
        (Path(row["path"]).name, row[ROUTED]) for row in predictions_of(folders[0]).to_pylist()
    }
    assert by_shard == {("0.parquet", "baseline"), ("1.parquet", "finetuned")}
    found = read_metrics(folders[0] / "metrics.json")
    assert found.route is not None
    assert (found.route.share, found.route.asked, found.route.fell_back) == (1.0, 40, 0)
    log = [json.loads(line) for line in (folders[0] / "log.jsonl").read_text().splitlines()]
    assert [line["share"] for line in log if line["event"] == "start"] == [0.0, 1.0]


@pytest.mark.ray
def test_a_backfill_hands_on_the_answers_that_count(
    values: dict[str, Any], run: Path, rows: list[dict[str, Any]]
) -> None:
    plan, folder = make_plan(JobConfig.model_validate(values)), RunFolder(run)
    files = predictions.files(folder.predictions)
    handed = [
        row
        for batch in labelled_rows(plan, folder, files, labelled_schema([], LABELS))
        for row in batch.to_pylist()
    ]
    assert {row["row_hash"]: row["variant"] for row in handed} == {
        row["row_hash"]: row[ROUTED] for row in rows
    }
    assert len(handed) == len(rows)
    counting = {row["row_hash"]: row[row[ROUTED]]["labels"] for row in rows}
    assert {row["row_hash"]: row["labels"] for row in handed} == counting
