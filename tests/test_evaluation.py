"""A job goes through, is cut off and goes on, or is found complete: each row exactly once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from medsent import evaluation, pipeline
from medsent.config import JobConfig
from medsent.engine.protocol import Completion, Engine, Request
from medsent.errors import EngineDiedError, RunError
from medsent.evaluation import evaluate
from medsent.labels import LABELS
from medsent.plan import Plan, make_plan
from medsent.run import RunFolder
from medsent.scorer import Scorer
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


def silent(_: str) -> None:
    """Say nothing."""


def dying(checkpoint: Path) -> type[Scorer]:
    """Return a scorer whose engine dies once a part of the work is safe.

    Made in here so that Ray sends the class itself to its actors.
    """

    class DyingEngine:
        def __init__(self, engine: Engine) -> None:
            self._engine = engine

        async def complete(self, request: Request) -> Completion:
            saved = [p for p in checkpoint.glob("*.parquet") if ".pending" not in p.name]
            if saved:
                raise EngineDiedError("the scripted engine was told to die")
            return await self._engine.complete(request)

        def close(self) -> None:
            self._engine.close()

    class Dying(Scorer):
        def _start(self, plan: Plan) -> Any:
            speakers, engine = super()._start(plan)
            return speakers, DyingEngine(engine)

    return Dying


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def config(work: Path, demo_shard: Path, model_folder: Path) -> JobConfig:
    return JobConfig.model_validate(
        {
            "name": "whole",
            "input": {"path": str(demo_shard)},
            "output": {"path": str(work / "runs")},
            "model": {"source": str(model_folder)},
            "variants": {"plain": {"method": "onepass"}, "digits": {"method": "bits"}},
            "engine": {"kind": "scripted", "rows_per_block": 3},
        }
    )


@pytest.fixture(scope="module")
def whole(config: JobConfig, cluster: None) -> Path:
    """The folder of a run that went through in one sitting."""
    return evaluate(config, silent).parent


@pytest.fixture(scope="module")
def cut_off(config: JobConfig, whole: Path) -> tuple[JobConfig, Path, str]:
    """The same job under another name, cut off when a part was done."""
    named = config.model_copy(update={"name": "cut"})
    folder = whole.with_name(whole.name.replace("whole", "cut"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Scorer", dying(folder / "checkpoint"))
        with pytest.raises(EngineDiedError) as caught:
            evaluate(named, silent)
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
    assert len(list((folder / "checkpoint").glob("*.parquet"))) > 0
    with pytest.raises(RunError, match="is not complete"):
        evaluation.rewrite_report(folder, silent)


def test_a_failure_quotes_no_opinion(
    cut_off: tuple[JobConfig, Path, str], demo_shard: Path
) -> None:
    """A failed task's exception ends in Ray's logs, with what is in it."""
    texts = {text[:30] for text in pq.read_table(demo_shard)["text"].to_pylist()}
    logs = [log.read_text(errors="replace") for log in ray_files()]
    assert any("the scripted engine was told to die" in log for log in logs)
    assert not [text for text in texts for log in logs if text in log]


def test_it_goes_on_where_it_stopped(cut_off: tuple[JobConfig, Path, str], whole: Path) -> None:
    config, folder, _ = cut_off
    done = evaluation._rows_written(RunFolder(folder))
    assert 0 < done < 24
    said: list[str] = []
    assert evaluate(config, said.append) == folder / "report.html"
    assert any(line.startswith(f"Resuming: {done} of 24") for line in said)
    table = predictions_of(folder)
    assert table.num_rows == len(set(table["row_hash"].to_pylist())) == 24
    run = RunFolder(folder)
    assert [event["done"] for event in run.events("start")] == [0, done]
    assert run.events("scored")[-1]["records"] == 24 - done
    # Scripted answers depend on prompt and adapter alone: the two runs are the same.
    for variant in ("plain", "digits"):
        assert answers(folder, variant) == answers(whole, variant)


def test_a_complete_run_starts_nothing_and_gets_its_report_again(
    config: JobConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(evaluation, "score", started)
    before = answers(whole, "plain")
    (whole / "report.html").unlink()
    said: list[str] = []
    assert evaluate(config, said.append) == whole / "report.html"
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
    assert evaluate(changed, silent).parent == whole
    metrics = json.loads((whole / "metrics.json").read_text())
    rates = {
        variant: [each["predicted_rate"] for each in made["labels"].values()]
        for variant, made in metrics["variants"].items()
    }
    assert rates["plain"] == [1.0] * len(LABELS)
    assert 0.2 < float(np.mean(rates["digits"])) < 0.8
    # The run keeps them: its report can be written again when the file is gone.
    file.unlink()
    evaluation.rewrite_report(whole, silent)
    assert json.loads((whole / "metrics.json").read_text()) == metrics


def test_a_run_that_lacks_only_its_manifest_needs_no_engine(
    config: JobConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score", lambda *_: pytest.fail("something was started"))
    before = json.loads((whole / "manifest.json").read_text())
    (whole / "manifest.json").unlink()
    assert evaluate(config, silent).parent == whole
    assert json.loads((whole / "manifest.json").read_text()) == before


def test_a_row_too_few_or_too_many_is_not_complete(whole: Path, tmp_path: Path) -> None:
    """The manifest is written only where input and output add up."""
    run = RunFolder(Path(shutil.copytree(whole, tmp_path / "copy")))
    run.manifest_file.unlink()
    plan = make_plan(run.config(), silent)
    files = sorted(run.predictions.glob("*.parquet"))
    evaluation._finish(plan, run)
    assert run.manifest() is not None
    run.manifest_file.unlink()
    shutil.copy(files[0], run.predictions / "twice.parquet")
    with pytest.raises(RunError, match=r"does not add up: 24 rows in the input, 2[5-7] in"):
        evaluation._finish(plan, run)
    (run.predictions / "twice.parquet").unlink()
    files[0].unlink()
    with pytest.raises(RunError, match=r"does not add up: 24 rows in the input, 2[1-3] in"):
        evaluation._finish(plan, run)
    assert run.manifest() is None


def test_a_file_without_its_end_is_not_counted_as_done(tmp_path: Path, whole: Path) -> None:
    run = RunFolder(Path(shutil.copytree(whole, tmp_path / "copy")))
    assert evaluation._rows_written(run) == 24
    first = sorted(run.predictions.glob("*.parquet"))[0]
    lost = pq.read_metadata(first).num_rows
    first.write_bytes(first.read_bytes()[:100])
    assert evaluation._rows_written(run) == 24 - lost
    assert evaluation._rows_written(RunFolder(tmp_path / "none")) == 0
