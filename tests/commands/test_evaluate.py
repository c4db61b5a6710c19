"""A job goes through, is cut off and goes on, or is found complete: each row exactly once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands import evaluate as evaluation
from medsent.commands.evaluate import Job, evaluate, rewrite_report
from medsent.commands.requeue import Selection
from medsent.commands.tune import tune_run
from medsent.config.job import JobConfig, OutputSettings
from medsent.config.labels import LABELS
from medsent.config.price import PriceSettings
from medsent.engine.protocol import Completion, Engine, Request
from medsent.errors import ConfigError, EngineDiedError, LeaseError, RunError, UsageError
from medsent.metrics.model import read_metrics
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.log import Scored, Started
from medsent.scoring import pipeline
from medsent.scoring.plan import make_plan
from medsent.scoring.scorer import Scorer
from medsent.scoring.stop import Stop
from tests.altered import scorer_whose_engine
from tests.conftest import predictions_of, ray_files

pytestmark = pytest.mark.ray


def answers(folder: Path, variant: str) -> list[Any]:
    """Return what a variant said of each record, without how long it took or who said it."""
    told = ("status", "labels", "probabilities", "answer", "prompt_tokens")
    keys = ("row_hash", "record_id", "outcome", "reason", "gold")
    return [
        ([row[key] for key in keys], [row[variant][key] for key in told])
        for row in predictions_of(folder).to_pylist()
    ]


def rows_of(run: RunFolder) -> int:
    return sum(pq.read_metadata(file).num_rows for file in run.predictions.glob("*.parquet"))


def dying(predictions: Path) -> type[Scorer]:
    """Return a scorer whose engine dies once a part of the work is safe."""

    async def completes(engine: Engine, request: Request) -> Completion:
        if list(predictions.glob("*.parquet")):
            raise EngineDiedError("the scripted engine was told to die")
        return await engine.complete(request)

    return scorer_whose_engine(completes)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def config(work: Path, demo_shard: Path, small_model: Path) -> JobConfig:
    return JobConfig.model_validate(
        {
            "name": "whole",
            "input": {"path": str(demo_shard)},
            "output": {"path": str(work / "runs")},
            "model": {"source": str(small_model), "max_model_len": 4096},
            "variants": {"plain": {"method": "onepass"}, "digits": {"method": "bits"}},
            # Two blocks in flight: with all of them none is left when the first is saved.
            "engine": {"kind": "scripted", "rows_per_block": 3, "max_num_seqs": 3},
        }
    )


@pytest.fixture(scope="module")
def whole(config: JobConfig, cluster: None) -> Path:
    """The folder of a run that went through in one session."""
    return evaluate(config).parent


@pytest.fixture(scope="module")
def cut_off(config: JobConfig, whole: Path) -> tuple[JobConfig, Path, str]:
    """The same job under another name, cut off when a part was done."""
    named = config.model_copy(update={"name": "cut"})
    folder = whole.with_name(whole.name.replace("whole", "cut"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Scorer", dying(folder / "predictions"))
        with pytest.raises(EngineDiedError) as caught:
            evaluate(named)
    return named, folder, str(caught.value)


def test_a_run_in_one_sitting_is_whole(whole: Path, demo_shard: Path) -> None:
    source = pq.read_table(demo_shard)
    table = predictions_of(whole)
    assert sorted(table["record_id"].to_pylist()) == sorted(source["record_id"].to_pylist())
    gold = {row["record_id"]: row["gold"] for row in table.to_pylist()}
    for row in source.to_pylist():
        assert gold[row["record_id"]] == row["labels"]
    assert RunFolder(whole).manifest() is not None


def test_a_run_that_is_cut_off_is_not_complete(cut_off: tuple[JobConfig, Path, str]) -> None:
    _, folder, reason = cut_off
    assert reason == "the scripted engine was told to die"
    assert RunFolder(folder).manifest() is None
    assert not (folder / "report.html").exists()
    assert len(list((folder / "predictions").glob("*.parquet"))) > 0
    with pytest.raises(RunError, match="is not complete"):
        evaluation.rewrite_report(folder)


def test_a_failure_quotes_no_opinion(
    cut_off: tuple[JobConfig, Path, str], demo_shard: Path
) -> None:
    """A failed task's exception ends in Ray's logs, with what is in it."""
    texts = {text[:30] for text in pq.read_table(demo_shard)["text"].to_pylist()}
    logs = [log.read_text(errors="replace") for log in ray_files()]
    assert not [text for text in texts for log in logs if text in log]


def test_it_goes_on_where_it_stopped(
    cut_off: tuple[JobConfig, Path, str], whole: Path, said: list[str]
) -> None:
    config, folder, _ = cut_off
    done = rows_of(RunFolder(folder))
    assert 0 < done < 24
    said.clear()
    assert evaluate(config) == folder / "report.html"
    assert any(line.startswith(f"Resuming: {done} of 24") for line in said)
    table = predictions_of(folder)
    assert table.num_rows == len(set(table["row_hash"].to_pylist())) == 24
    run = RunFolder(folder)
    assert [event.done for event in run.events(Started)] == [0, done]
    assert run.events(Scored)[-1].records == 24 - done
    # Scripted answers depend on prompt and adapter alone: the two runs are the same.
    for variant in ("plain", "digits"):
        assert answers(folder, variant) == answers(whole, variant)


def test_a_complete_run_starts_nothing_and_gets_its_report_again(
    config: JobConfig, whole: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def started(*_: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(evaluation, "score", started)
    before = answers(whole, "plain")
    (whole / "report.html").unlink()
    said.clear()
    assert evaluate(config) == whole / "report.html"
    assert (whole / "report.html").exists()
    assert any("no engine is started" in line for line in said)
    assert answers(whole, "plain") == before


def test_new_thresholds_need_no_scoring(
    config: JobConfig, whole: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score", lambda *_: pytest.fail("something was started"))
    file = work / "thresholds.json"
    values = {
        "method": "onepass",
        "adapter_sha256": None,
        "thresholds": dict.fromkeys(LABELS, 0.0),
        "tuned_on": {"data_digest": "0", "opinions": 1, "records": 1, "opinion_hashes": ""},
    }
    file.write_text(json.dumps(values))
    plain = config.variants["plain"].model_copy(update={"thresholds": str(file)})
    changed = config.model_copy(update={"variants": {**config.variants, "plain": plain}})
    assert evaluate(changed).parent == whole
    metrics = json.loads((whole / "metrics.json").read_text())
    rates = {
        variant: [each["predicted_rate"]["value"] for each in made["labels"].values()]
        for variant, made in metrics["variants"].items()
    }
    assert rates["plain"] == [1.0] * len(LABELS)
    assert 0.2 < float(np.mean(rates["digits"])) < 0.8
    # The run keeps them: its report can be written again when the file is gone.
    file.unlink()
    evaluation.rewrite_report(whole)
    assert json.loads((whole / "metrics.json").read_text()) == metrics


def test_thresholds_tuned_on_a_run_are_not_for_its_own_report(
    config: JobConfig, whole: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score", lambda *_: pytest.fail("something was started"))
    file = tune_run(whole, "digits", output=work / "digits.json")
    digits = config.variants["digits"].model_copy(update={"thresholds": str(file)})
    changed = config.model_copy(update={"variants": {**config.variants, "digits": digits}})
    before = (whole / "thresholds.json").read_text()
    with pytest.raises(ConfigError, match=r"digits\.json was tuned on .* input: 6 of its 6 have"):
        evaluate(changed)
    assert (whole / "thresholds.json").read_text() == before


def test_a_run_that_lacks_only_its_manifest_needs_no_engine(
    config: JobConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score", lambda *_: pytest.fail("something was started"))
    before = json.loads((whole / "manifest.json").read_text())
    (whole / "manifest.json").unlink()
    assert evaluate(config).parent == whole
    assert json.loads((whole / "manifest.json").read_text()) == before


@pytest.fixture
def copy(config: JobConfig, whole: Path, tmp_path: Path) -> tuple[JobConfig, RunFolder]:
    """A copy of the whole run, without its manifest, under its own job."""
    run = RunFolder(Path(shutil.copytree(whole, tmp_path / "runs" / whole.name)))
    run.manifest_file.unlink()
    return config.model_copy(update={"output": OutputSettings(path=str(tmp_path / "runs"))}), run


def test_a_price_is_named_afterwards_and_scores_nothing_anew(
    config: JobConfig, whole: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(evaluation, "score", lambda *_: pytest.fail("something was started"))
    kept = {name: (whole / name).read_bytes() for name in ("metrics.json", "config.yaml")}
    (power,) = RunFolder(whole).events(Scored)[0].power.values()
    assert (power.gpus, power.joules) == (0, None)
    assert power.seconds > 0
    try:
        laptop = PriceSettings(per_machine_hour=0.3, currency="EUR")
        evaluate(config.model_copy(update={"price": laptop}))
        metrics = read_metrics(whole / "metrics.json")
        for name in ("plain", "digits"):
            cost = metrics.variants[name].cost
            assert cost is not None
            assert cost.money_per_million_records.value == pytest.approx(
                0.3 * cost.replica_hours_per_million_records.value
            )
            assert cost.gpu_hours_per_million_records is None
            assert any(line.startswith(f"  {name}: ") and "EUR a million" in line for line in said)
        report = (whole / "report.md").read_text()
        assert "A million records cost " in report
        assert "No label has opinions enough to tell which variant is as good" in report
        assert (metrics.comparisons, metrics.cheapest) == ([], None)
        with pytest.raises(ConfigError, match=r"price\.per_gpu_hour: the run's engines had no GPU"):
            evaluate(config.model_copy(update={"price": PriceSettings(per_gpu_hour=2.5)}))
    finally:
        evaluate(config)
    assert {name: (whole / name).read_bytes() for name in kept} == kept


def test_a_row_too_few_or_too_many_is_not_complete(
    copy: tuple[JobConfig, RunFolder], demo_shard: Path
) -> None:
    """The manifest is written only where input and output add up, shard by shard."""
    config, run = copy
    job = Job(make_plan(config), run, Ledger.read(run), Stop())
    first = sorted(run.predictions.glob("*.parquet"))[0]
    job._close()
    assert run.manifest() is not None
    run.manifest_file.unlink()
    more = pq.read_metadata(first).num_rows
    shutil.copy(first, run.predictions / "twice-0.parquet")
    with pytest.raises(RunError) as caught:
        job._close()
    assert f"{demo_shard} has 24 records and {24 + more} outcomes" in str(caught.value)
    (run.predictions / "twice-0.parquet").unlink()
    first.unlink()
    with pytest.raises(RunError) as caught:
        job._close()
    assert f"{demo_shard} has 24 records and {24 - more} outcomes" in str(caught.value)
    assert run.manifest() is None


def test_rows_that_were_lost_are_scored_again(
    copy: tuple[JobConfig, RunFolder], whole: Path, cluster: None, said: list[str]
) -> None:
    """A block is done where its file is, and nothing else tells that it is."""
    config, run = copy
    sorted(run.predictions.glob("*.parquet"))[0].unlink()
    said.clear()
    evaluate(config)
    assert any(line.startswith("Resuming: 2") for line in said)
    assert answers(run.path, "plain") == answers(whole, "plain")
    before, after = (RunFolder(path).manifest() for path in (whole, run.path))
    assert before is not None
    assert after is not None
    assert after.records == before.records


def test_a_complete_run_that_lost_a_file_says_so_and_scores_its_rows(
    copy: tuple[JobConfig, RunFolder], whole: Path, cluster: None, said: list[str]
) -> None:
    """Its manifest says that all is done."""
    config, run = copy
    shutil.copy(whole / "manifest.json", run.manifest_file)
    first = sorted(run.predictions.glob("*.parquet"))[0]
    rows = pq.read_metadata(first).num_rows
    first.unlink()
    with pytest.raises(RunError, match="files of them are lost; give the run's job again"):
        rewrite_report(run.path)
    evaluate(config)
    assert f"Files of predictions are lost: {rows} records are scored again." in said
    assert answers(run.path, "plain") == answers(whole, "plain")
    said.clear()
    evaluate(config)
    assert any("only its report is made again" in line for line in said)


def test_a_run_of_an_earlier_version_is_not_gone_on_with(
    copy: tuple[JobConfig, RunFolder],
) -> None:
    """What is done was noted otherwise: its blocks are cut in another way."""
    config, run = copy
    ledger = json.loads((run.path / "ledger.json").read_text())
    del ledger["rows_per_block"], ledger["cut"], ledger["kept"]
    run.write("ledger.json", json.dumps(ledger))
    kept = sorted(run.predictions.iterdir())
    kept[0].rename(run.predictions / "25_000000_000000-0.parquet")
    with pytest.raises(RunError, match=r"begun by another version .* --set name=NAME"):
        evaluate(config)
    with pytest.raises(RunError, match="begun by another version"):
        evaluation.requeue(run.path, Selection(status="ok"))
    assert rows_of(run) == 24


def test_other_versions_are_refused_unless_told(copy: tuple[JobConfig, RunFolder]) -> None:
    config, run = copy
    sorted(run.predictions.glob("*.parquet"))[0].unlink()
    start = run.events(Started)[-1]
    run.log(start.model_copy(update={"versions": {**start.versions, "torch": "1.0"}}))
    with pytest.raises(RunError, match=r"begun with other versions: torch 1\.0 -> 2.*mix_versions"):
        evaluate(config)


def test_a_run_that_another_job_holds_is_refused(copy: tuple[JobConfig, RunFolder]) -> None:
    config, run = copy
    with evaluation.held(run), pytest.raises(LeaseError, match="is held by another job"):
        evaluate(config)


class TestRequeue:
    """Some rows of a complete run are scored again, and no others."""

    @pytest.fixture
    def spoilt(self, copy: tuple[JobConfig, RunFolder]) -> tuple[RunFolder, list[int]]:
        """A complete run in which one block's answers are errors; their row hashes."""
        config, run = copy
        run.keep_config(config)
        file = sorted(run.predictions.glob("*.parquet"))[0]
        rows = pq.read_table(file)
        spoilt = [
            {**row, "digits": {**row["digits"], "status": "engine_error"}}
            for row in rows.to_pylist()
        ]
        pq.write_table(pa.Table.from_pylist(spoilt, schema=rows.schema), file)
        evaluate(config)
        return run, rows["row_hash"].to_pylist()

    def test_rows_of_a_status(
        self, spoilt: tuple[RunFolder, list[int]], whole: Path, cluster: None, said: list[str]
    ) -> None:
        run, hashes = spoilt
        kept = {p.name: p.read_bytes() for p in run.predictions.glob("*.parquet")}
        report = evaluation.requeue(run.path, Selection(status="engine_error"))
        assert report == run.path / "report.html"
        assert f"Requeued {len(hashes)} records of {run.path}" in said
        assert answers(run.path, "digits") == answers(whole, "digits")
        now = {p.name: p.read_bytes() for p in run.predictions.glob("*.parquet")}
        assert len(kept.items() & now.items()) == len(kept) - 1
        manifest = run.manifest()
        assert manifest is not None
        assert manifest.records.scored == 24

    def test_a_shard(
        self, spoilt: tuple[RunFolder, list[int]], whole: Path, demo_shard: Path, cluster: None
    ) -> None:
        run, _ = spoilt
        spelling = f"{demo_shard.parent}/../{demo_shard.parent.name}/{demo_shard.name}"
        evaluation.requeue(run.path, Selection(shard=spelling))
        assert answers(run.path, "digits") == answers(whole, "digits")

    def test_a_shard_that_is_none(self, spoilt: tuple[RunFolder, list[int]]) -> None:
        run, _ = spoilt
        with pytest.raises(UsageError, match=r"--shard: /none\.parquet is no shard of"):
            evaluation.requeue(run.path, Selection(shard="/none.parquet"))
        assert run.manifest() is not None

    def test_another_recipe_is_refused(self, spoilt: tuple[RunFolder, list[int]]) -> None:
        run, _ = spoilt
        config = run.config()
        model = config.model.model_copy(update={"max_model_len": 512})
        run.keep_config(config.model_copy(update={"model": model}))
        with pytest.raises(ConfigError, match="was scored with another model"):
            evaluation.requeue(run.path, Selection(status="engine_error"))
        assert run.manifest() is not None
