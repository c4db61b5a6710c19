"""The whole job with nothing on a file system: shards, model, adapter and run on a real server."""

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.cli import main
from medsent.runs.folder import RunFolder
from medsent.runs.log import Started
from medsent.storage.paths import AnyPath, any_path, located
from tests.chaos.tokenizer import write_tokenizer
from tests.conftest import AdapterWriter
from tests.storage.job import PATIENCE_S, Job
from tests.storage.server import ANYONE, Key, Server

pytestmark = pytest.mark.ray

ROWS = 24
BUCKET = "opinions"


@pytest.fixture(scope="module")
def job(
    server: Server,
    reached: None,
    demo_shard: Path,
    write_adapter: AdapterWriter,
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    folder = tmp_path_factory.mktemp("job")
    server.make_bucket(BUCKET)
    model = write_tokenizer(folder / "model")
    names = {"weight_map": {"model.layers.0.self_attn.q_proj.weight": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(names))
    values = {
        "name": "remote",
        "input": {"path": server.upload(demo_shard.parent, BUCKET, "in")},
        "output": {"path": f"s3://{BUCKET}/runs"},
        "model": {"source": server.upload(model, BUCKET, "model"), "max_model_len": 1024},
        "variants": {
            "plain": {"method": "onepass"},
            "tuned": {
                "method": "onepass",
                "adapter": server.upload(write_adapter(folder / "r2"), BUCKET, "adapters/r2"),
            },
        },
        "compare": [{"baseline": "plain", "candidate": "tuned"}],
        "statistics": {"replicates": 0},
        # One answer at a time, so that blocks are under way when the driver is killed.
        "engine": {"kind": "scripted", "rows_per_block": 4, "latency_s": 0.1, "max_num_seqs": 1},
    }
    return Job.of(values, folder, server)


@dataclass(frozen=True)
class Finished:
    """A run that was refused a right, then killed, and then went on to its end."""

    job: Job
    run: RunFolder
    refused: subprocess.CompletedProcess[str]
    said: str
    """All of the last start's stdout."""


@pytest.fixture(scope="module")
def finished(job: Job, server: Server, joining: dict[str, str]) -> Finished:
    refused = refuse_predictions(job, server)  # by a Ray of its own; the others share one
    job = job.on(joining)
    killed = job.start("evaluate", str(job.config))
    run = RunFolder(wait_for_blocks(killed, 2))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    again = job.ended("evaluate", str(job.config), "--set", "engine.latency_s=0")
    assert again.returncode == 0, again.stderr
    return Finished(job, run, refused, again.stdout)


def refuse_predictions(job: Job, server: Server) -> subprocess.CompletedProcess[str]:
    """Run the job with a key that may write all of a run but its predictions."""
    there, runs = f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/runs/*"
    reading = ["s3:GetObject", "s3:ListBucket", "s3:HeadBucket", "s3:DeleteObject"]
    writing = ["s3:PutObject", *reading]
    others = ("json", "yaml", "jsonl/*", "/lease/*", "/.writable", "/")
    rights = {
        there: reading,
        f"{there}/*": reading,
        f"{there}/runs/": writing,
        **{f"{runs}{name}": writing for name in others},
    }
    key = server.make_key("writer", rights)
    bound = Job(job.config, {**job.environment, **server.environment(key)})
    with server.strict():
        refused = bound.ended("evaluate", str(job.config))
    assert refused.returncode == 1, refused.stdout
    assert not list(any_path(f"s3://{BUCKET}/runs").rglob("*.parquet"))
    return refused


def wait_for_blocks(job: subprocess.Popen[str], blocks: int) -> AnyPath:
    """Wait until a job has committed so many blocks; return its run's folder."""
    [run] = any_path(f"s3://{BUCKET}/runs").glob("remote-*")
    deadline = time.monotonic() + PATIENCE_S
    while job.poll() is None and time.monotonic() < deadline:
        if len(list((run / "predictions").glob("*.parquet"))) >= blocks:
            return run
        time.sleep(0.1)
    pytest.fail(f"the job committed nothing: {job.communicate()}")


def predictions_of(run: RunFolder) -> pa.Table:
    filesystem, folder = located(run.predictions)
    return pq.read_table(folder, filesystem=filesystem).sort_by("row_hash")


def assert_whole(run: RunFolder, demo_shard: Path) -> None:
    """Every row of the input has one outcome."""
    table = predictions_of(run)
    assert table.num_rows == len(set(table["row_hash"].to_pylist())) == ROWS
    source = pq.read_table(demo_shard)
    assert sorted(table["record_id"].to_pylist()) == sorted(source["record_id"].to_pylist())
    assert run.complete().records.scored == ROWS


def test_every_row_has_one_outcome(finished: Finished, demo_shard: Path) -> None:
    assert_whole(finished.run, demo_shard)
    starts = finished.run.events(Started)
    assert starts[0].done == 0
    assert len(starts) == 3
    assert f"Resuming: {starts[2].done} of {ROWS}" in finished.said


def test_the_report_is_named_and_readable(finished: Finished) -> None:
    report = finished.run.path / "report.html"
    assert finished.said.splitlines()[-1] == str(report)
    assert report.read_text().startswith("<!doctype html>")
    metrics = json.loads((finished.run.path / "metrics.json").read_text())
    assert metrics["records"]["scored"] == ROWS
    [shard] = finished.run.complete().input
    assert shard.path.startswith(f"{BUCKET}/in/")
    assert shard.etag.startswith('"')


def test_no_key_is_in_what_the_run_holds(finished: Finished, server: Server) -> None:
    held = server.objects(BUCKET, "runs/")
    assert len(held) > 15
    for key, content in held.items():
        assert ANYONE.id.encode() not in content, key
        assert ANYONE.secret.encode() not in content, key


def run_main(*command: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(command))
    return int(ended.value.code or 0)


def last_line(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().out.splitlines()[-1]


def test_what_reads_a_run_reads_it_there(
    finished: Finished, capfd: pytest.CaptureFixture[str]
) -> None:
    run = str(finished.run.path)
    assert run_main("report", run, "--examples", "1") == 0
    assert last_line(capfd) == f"{run}/report-with-opinions.html"
    assert run_main("thresholds", run, "--variant", "plain") == 0
    assert last_line(capfd) == f"{run}/thresholds-plain.json"
    assert run_main("compare", run, run, "--baseline", "plain", "--candidate", "tuned") == 0
    compared = last_line(capfd)
    assert compared.startswith(f"s3://{BUCKET}/runs/compare-remote-")
    assert any_path(compared).is_file()
    assert run_main("check", str(finished.job.config)) == 0
    assert f"on what the last run had ({finished.run.path.name})" in last_line(capfd)


def test_a_complete_run_starts_no_engine(
    finished: Finished, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_main("evaluate", str(finished.job.config)) == 0
    assert "The run is complete: no engine is started" in capfd.readouterr().out
    assert len(finished.run.events(Started)) == 3


def test_a_requeued_shard_is_scored_again(finished: Finished, demo_shard: Path) -> None:
    shard = f"s3://{BUCKET}/in/{demo_shard.name}"
    again = finished.job.ended("requeue", str(finished.run.path), "--shard", shard)
    assert again.returncode == 0, again.stderr
    assert f"Requeued {ROWS} records of {finished.run.path}" in again.stdout
    assert_whole(finished.run, demo_shard)
    assert not (finished.run.path / "requeue.json").exists()


def test_a_right_that_is_missing_is_told(finished: Finished) -> None:
    told = finished.refused.stderr.splitlines()[-1]
    assert told.startswith(f"medsent: cannot write to {finished.run.path}: access is denied")
    assert "what the key may do there, and the same command goes on from there" in told


def refusal(
    server: Server, key: Key, capfd: pytest.CaptureFixture[str], *command: str
) -> tuple[int, str]:
    """Return a command's exit code with a key, and the one line that it then says on stderr."""
    with pytest.MonkeyPatch.context() as patch, server.strict():
        for name, value in server.environment(key).items():
            patch.setenv(name, value)
        code = run_main(*command)
    [line] = capfd.readouterr().err.splitlines()
    return code, line


def test_a_bucket_that_is_not_there(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    code = run_main("evaluate", str(job.config), "--set", "output.path=s3://no-such-bucket/runs")
    assert code == 2
    told = capfd.readouterr().err.splitlines()[-1]
    assert "output.path: there is no such bucket (NO_SUCH_BUCKET); make it" in told


def test_a_key_that_may_only_read(
    job: Job, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    reading = ["s3:GetObject", "s3:ListBucket"]
    where = (f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*")
    key = server.make_key("reader", dict.fromkeys(where, reading))
    code, told = refusal(server, key, capfd, "evaluate", str(job.config), "--set", "name=read")
    assert code == 1
    assert told.startswith(f"medsent: cannot write to s3://{BUCKET}/runs/read-")
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what the key may" in told


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_wrong_key_is_told_in_one_line(
    job: Job, server: Server, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    wrong = Key("AKIAWRONG", "wrong-secret")
    given = str(job.config) if command == "evaluate" else f"s3://{BUCKET}/runs/remote-0"
    code, told = refusal(server, wrong, capfd, command, given)
    assert code == 1
    assert f"s3://{BUCKET}/" in told
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in told
    assert wrong.secret not in told
