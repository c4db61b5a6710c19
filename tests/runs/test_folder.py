"""A run's folder: found again by the same job, complete when its manifest is there."""

import errno
import os
from pathlib import Path

import pytest

from medsent.config.engine import VllmSettings
from medsent.config.job import load_config
from medsent.errors import ConfigError, RunError, StorageError
from medsent.metrics.cuts import KeptCuts
from medsent.runs.folder import RunFolder, runs_named
from medsent.runs.log import Scored, Started
from medsent.scoring.opening import open_run
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder
from tests.written import write_manifest


def test_a_job_finds_its_folder_again(job: JobBuilder, tmp_path: Path) -> None:
    plan = make_plan(job())
    run = open_run(plan)
    assert run.path == (tmp_path / "runs" / f"scripted-{plan.fingerprint}").resolve()
    assert not any(run.path.iterdir())
    run.log(Started(done=0, versions={}))
    assert open_run(plan) == run
    assert len(run.events(Started)) == 1


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log(Started(done=1, versions={}))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "start", "done": 5')
    run.log(Started(done=2, versions={}))
    run.log(Started(done=3, versions={}))
    assert [each.done for each in run.events(Started)] == [1, 2, 3]


def test_the_configuration_is_the_latest(job: JobBuilder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.keep_config(job())
    run.keep_config(job(note="Synthetic."))
    assert run.config() == job(note="Synthetic.")


def test_an_old_configuration_with_a_secret_is_still_read(job: JobBuilder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.keep_config(job(engine={"kind": "vllm", "options": {"hf_token": ""}}))
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("hf_token: ''", "hf_token: kept-by-an-old-one"))
    engine = run.config().engine
    assert isinstance(engine, VllmSettings)
    assert engine.options == {"hf_token": "kept-by-an-old-one"}
    with pytest.raises(ConfigError, match="hf_token holds a secret"):
        load_config(file)


def test_the_configuration_holds_in_any_working_folder(
    job: JobBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    given = job(
        input={"path": "shards"},
        output={"path": "runs"},
        personas="readers.yaml",
        model={"source": "model"},
        variants={"tuned": {"adapter": "adapter", "thresholds": "cuts.json"}, "plain": {}},
    )
    run = RunFolder(tmp_path)
    run.keep_config(given)
    kept = run.config()
    assert kept.input.path == str(tmp_path / "shards")
    assert kept.output.path == str(tmp_path / "runs")
    assert kept.personas == str(tmp_path / "readers.yaml")
    assert kept.model.source == str(tmp_path / "model")
    assert kept.variants["tuned"].adapter == str(tmp_path / "adapter")
    assert kept.variants["tuned"].thresholds == str(tmp_path / "cuts.json")
    assert kept.variants["plain"] == given.variants["plain"]


@pytest.mark.parametrize("name", ["google/gemma-3-12b-it", "builtin:gemma-3-270m"])
def test_a_models_name_and_a_buckets_stay(job: JobBuilder, tmp_path: Path, name: str) -> None:
    run = RunFolder(tmp_path)
    run.keep_config(job(model={"source": name}, input={"path": "s3://bucket/test"}))
    assert run.config().model.source == name
    assert run.config().input.path == "s3://bucket/test"


def test_an_output_that_is_no_folder_is_refused(job: JobBuilder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plan = make_plan(job(output={"path": str(tmp_path / "file")}))
    with pytest.raises(ConfigError, match=r"output\.path: .*/file.* is no folder"):
        open_run(plan)


def test_an_output_that_may_not_be_written_to_is_said(
    job: JobBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(job())

    def read_only(path: Path, *_: int) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StorageError, match=r"cannot write to .*: the file system is read-only"):
        open_run(plan)


def test_complete_means_a_manifest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.manifest() is None
    with pytest.raises(RunError, match="is not complete; run its job again"):
        run.complete()
    manifest = write_manifest(run, 3)
    assert run.manifest() == run.complete() == manifest


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    run.write("report.md", "first")

    def full_disk(handle: int) -> None:
        os.truncate(handle, 2)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            run.write("report.md", "second")
    assert (tmp_path / "report.md").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert run.write("report.md", "second").read_text() == "second"


def test_a_file_may_be_its_owners_alone_from_its_first_byte_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, modes = RunFolder(tmp_path), []
    fsync = os.fsync

    def looked_at(handle: int) -> None:
        modes.append(os.fstat(handle).st_mode & 0o777)
        fsync(handle)

    (tmp_path / "quoting").touch(mode=0o644)
    monkeypatch.setattr(os, "fsync", looked_at)
    assert run.write("quoting", "text", mode=0o600).stat().st_mode & 0o777 == 0o600
    assert modes[0] == 0o600


def test_the_log_is_read_by_kind_in_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.events(Started) == []
    for done in (0, 5):
        run.log(Started(done=done, versions={}))
        run.log(Scored(start_up_s=1.0, total_s=2.0, records=done))
    assert [event.done for event in run.events(Started)] == [0, 5]
    log = tmp_path / "log.jsonl"
    assert len(log.read_text().splitlines()) == 4
    log.write_text(log.read_text() + '{"at": "2026-01-0')  # as a kill would leave it
    assert [event.done for event in run.events(Started)] == [0, 5]


def test_thresholds_that_are_not_there_are_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(RunError, match=r"has no thresholds\.json; run its job again"):
        KeptCuts.read(run)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run: it has no config") as caught:
        RunFolder(tmp_path).config()
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "config.yaml").write_text("name: a\nnmae: b\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: .*unknown setting nmae"):
        RunFolder(tmp_path).config()


def test_runs_of_a_name_are_not_those_of_a_longer_one(tmp_path: Path) -> None:
    own = {"a-0123456789ab", "a-2026-11-01-0123456789ab"}
    for name in (*own, "a-pl-0123456789ab", "other-0123456789ab"):
        (tmp_path / name).mkdir()
    assert {run.path.name for run in runs_named(tmp_path, "a")} == own
