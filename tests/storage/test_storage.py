"""Objects under the names of files: written, read, listed and refused by a real server."""

import errno
import json
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.errors import ConfigError, InputError, StorageError
from medsent.input.files import find_files
from medsent.runs.folder import RunFolder
from medsent.runs.log import Scored, Started
from medsent.runs.repeats import records_of_all, repeats_of
from medsent.scoring.opening import open_run, run_of, try_output
from medsent.scoring.plan import make_plan
from medsent.storage.paths import (
    ObjectPath,
    any_path,
    located,
    move,
    names_below,
    open_parquet,
    read_lines,
    write_whole,
)
from tests.conftest import JobBuilder
from tests.predicted import Answers, batch
from tests.storage.server import ANYONE, Server

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(bucket: str) -> ObjectPath:
    made = any_path(f"s3://{bucket}/runs/one/")
    assert isinstance(made, ObjectPath)
    return made


def test_a_path_is_taken_apart_and_put_together(folder: ObjectPath, bucket: str) -> None:
    assert str(folder) == f"s3://{bucket}/runs/one"
    assert folder / "a.json" == any_path(f"s3://{bucket}/runs/one/a.json")
    assert folder == any_path(f"s3://{bucket}//runs/one/")
    assert (folder / "a.json").name == "a.json"
    assert (folder / "a.json").parent == folder == folder.resolve()
    assert any_path("~/x") == Path.home() / "x"
    with pytest.raises(ConfigError, match="ftp:// is no storage; give a folder, s3:// or gs://"):
        any_path("ftp://host/x")


def test_what_is_written_is_read_and_listed(folder: ObjectPath) -> None:
    for name in ("a.json", "b.parquet", "inner/c.parquet"):
        assert write_whole(folder / name, name) == folder / name
    assert (folder / "a.json").read_text() == "a.json"
    assert sorted(path.name for path in folder.glob("*.parquet")) == ["b.parquet"]
    assert sorted(path.name for path in folder.glob("*")) == ["a.json", "b.parquet", "inner"]
    assert list((folder / "none").glob("*")) == []
    assert (folder / "a.json").is_file()
    assert (folder / "inner").is_dir()
    assert not (folder / "c").exists()
    (folder / "a.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no such object.*runs/one/a\.json"):
        (folder / "a.json").unlink()
    (folder / "a.json").unlink(missing_ok=True)


@pytest.mark.parametrize("on", ["objects", "files"])
def test_what_lies_below_a_folder_is_named_and_moved(
    folder: ObjectPath, tmp_path: Path, on: str
) -> None:
    root = folder if on == "objects" else tmp_path
    for name in ("b.parquet", "a/language=pl/c.parquet", "a/d.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(root / name, name)
    assert names_below(root, "*.parquet") == ["a/language=pl/c.parquet", "b.parquet"]
    assert names_below(root / "a", "*.parquet") == ["language=pl/c.parquet"]
    assert names_below(root / "none", "*") == []
    move(root / "a/language=pl/c.parquet", root / "b.parquet")
    move(root / "b.parquet", root / "new" / "e.parquet")
    assert names_below(root, "*.parquet") == ["new/e.parquet"]
    assert (root / "new/e.parquet").read_text() == "a/language=pl/c.parquet"


def test_a_table_is_read_by_the_columns_asked_for(folder: ObjectPath) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    written = pa.BufferOutputStream()
    pq.write_table(table, written)
    write_whole(folder / "t.parquet", written.getvalue().to_pybytes())
    with open_parquet(folder / "t.parquet") as parquet:
        assert parquet.read(columns=["b"]) == table.select(["b"])


def test_a_run_s_repeats_are_found_and_read_there(folder: ObjectPath) -> None:
    runs = [RunFolder(folder / name) for name in ("job-f", "job-repeat-2-f")]
    rows = batch(np.ones((3, 1), np.int8), {"v": Answers(np.ones((3, 1), np.int8))})
    place = rows.schema.get_field_index("row_hash")
    for run, hashes in zip(runs, ([1, 2, 3], [3, 1, 4]), strict=True):
        rows = rows.set_column(place, "row_hash", pa.array(hashes, pa.uint64()))
        written = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_batches([rows]), written)
        write_whole(run.predictions / "a-000000.parquet", written.getvalue().to_pybytes())
    write_whole(runs[0].predictions / "b-000000.parquet", written.getvalue().to_pybytes())
    assert repeats_of(runs[0]) == [runs[1]]
    [found] = records_of_all(runs, ["v.status"], rows=100)
    assert [each["row_hash"].to_pylist() for each in found] == [[1, 3], [1, 3]]


def test_a_runs_log_is_an_object_a_line(folder: ObjectPath, server: Server, bucket: str) -> None:
    run = RunFolder(folder)
    assert read_lines(folder / "log.jsonl") == []
    for done in (0, 5):
        run.log(Started(done=done, versions={}))
        run.log(Scored(records=done, start_up_s=1.0, total_s=2.0))
    assert [event.done for event in run.events(Started)] == [0, 5]
    lines = server.objects(bucket, "runs/one/log.jsonl/")
    assert [json.loads(lines[key])["event"] for key in sorted(lines)] == ["start", "scored"] * 2


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    path = any_path("s3://no-such-bucket/x")
    with pytest.raises(FileNotFoundError, match=r"there is no such bucket.*make it") as caught:
        write_whole(path, "x")
    assert caught.value.filename == "s3://no-such-bucket/x"


def test_an_input_of_objects_is_listed_as_folders_are(bucket: str) -> None:
    root = any_path(f"s3://{bucket}/Czy polecam?; #1")
    for name in ("_year=2020/a%20b.PARQUET", "c\td/000000_0", "_tmp/e.parquet", "f.csv", "README"):
        (root / name).write_bytes(b"no" if name == "README" else b"PAR1")
    found = find_files(str(root))
    below = f"{bucket}/Czy polecam?; #1"
    assert [(file.path, file.size_bytes) for file in found.files] == [
        (f"{below}/_year=2020/a%20b.PARQUET", 4),
        (f"{below}/c\td/000000_0", 4),
    ]
    assert found.passed_over == tuple(f"{below}/{n}" for n in ("README", "_tmp/e.parquet", "f.csv"))
    assert find_files(f"{root}/f.csv").files[0].path == f"{below}/f.csv"
    (root / "deep" / "_delta_log" / "0.json").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"polecam\?; #1/deep is a Delta table"):
        find_files(str(root))


@pytest.mark.usefixtures("strict")
def test_a_key_that_nobody_has_is_told_without_it(folder: ObjectPath, bucket: str) -> None:
    with pytest.raises(PermissionError, match="check AWS_ACCESS_KEY_ID") as caught:
        write_whole(folder / "a.json", "x")
    assert str(folder) in str(caught.value)
    with pytest.raises(StorageError, match=rf"cannot list s3://{bucket}/in: .*AWS_ACCESS") as told:
        find_files(f"s3://{bucket}/in")
    for error in (caught.value, told.value):
        assert ANYONE.id not in str(error)
        assert ANYONE.secret not in str(error)


def test_a_secret_that_is_not_the_keys(
    folder: ObjectPath, server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = server.make_key("writer", {f"arn:aws:s3:::{bucket}/*": ["s3:*"]})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    told = "check AWS_ACCESS_KEY_ID and AWS_SECRET"
    with server.strict(), pytest.raises(PermissionError, match=told):
        any_path(str(folder / "a.json")).write_bytes(b"x")


@pytest.mark.parametrize("begun", [False, True])
def test_an_output_is_tried_by_the_rights_that_a_run_needs(
    server: Server, bucket: str, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    plan = make_plan(job(output={"path": f"s3://{bucket}/runs"}))
    run = run_of(plan)
    if begun:
        open_run(plan).write("config.yaml", "x")
    before = server.objects(bucket)
    there = f"arn:aws:s3:::{bucket}"
    rights = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    allowed = {there: ["s3:ListBucket", "s3:HeadBucket"], f"{there}/runs/{run.path.name}*": rights}
    key = server.make_key("narrow", allowed)
    reader = server.make_key("reader", {there: ["s3:ListBucket"], f"{there}/*": rights[:1]})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    with server.strict():
        try_output(plan)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", reader.secret)
        with pytest.raises(StorageError, match="cannot write to"):
            try_output(plan)
    assert server.objects(bucket) == before


def test_a_server_that_is_gone_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(OSError, match=r"cannot be reached.*check AWS_ENDPOINT_URL") as caught:
        any_path(f"s3://{bucket}/x").read_bytes()
    assert caught.value.errno == errno.EHOSTUNREACH


def test_no_credentials_leave_the_process(folder: ObjectPath) -> None:
    filesystem, key = located(folder)
    sent = pickle.dumps(filesystem)
    assert ANYONE.id.encode() not in sent
    assert ANYONE.secret.encode() not in sent
    pickle.loads(sent).open_output_stream(f"{key}/x").close()
    assert (folder / "x").is_file()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_never_answers_is_given_up(
    bucket: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent)
    with pytest.raises(OSError, match="cannot be reached"):
        any_path(f"s3://{bucket}/x").read_bytes()
