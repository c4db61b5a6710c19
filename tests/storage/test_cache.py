"""Adapters and models of object storage: fetched to a machine once, whole, by their content."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medsent.errors import AdapterError, ModelError, StorageError
from medsent.models.adapter import open_adapter
from medsent.models.source import content_sha256, resolve_model
from medsent.scoring.plan import make_plan
from medsent.storage.cache import fetched
from tests.conftest import AdapterWriter, JobBuilder
from tests.storage.server import Server


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """Return what lists the copies that this machine has."""
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "cache"))
    return lambda: list((tmp_path / "cache" / "fetched").glob("[!.]*"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_adapter_is_fetched_once_and_equal(
    cached: Callable[[], list[Path]],
    server: Server,
    bucket: str,
    write_adapter: AdapterWriter,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    local = write_adapter(tmp_path / "r2")
    where = server.upload(local, bucket, "adapters/r2")
    adapter = open_adapter("tuned", where, model_folder)
    assert adapter.source == where
    assert contents(adapter.folder) == contents(local)
    assert adapter.sha256 == open_adapter("tuned", str(local), model_folder).sha256
    marker = adapter.folder / "marker"
    marker.touch()
    assert adapter.on_this_node() == adapter.folder
    assert marker.exists()  # not fetched again
    assert cached() == [adapter.folder]


def test_another_machine_fetches_its_own(
    cached: Callable[[], list[Path]],
    server: Server,
    bucket: str,
    write_adapter: AdapterWriter,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = write_adapter(tmp_path / "r2")
    adapter = open_adapter("tuned", server.upload(local, bucket, "r2"), model_folder)
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "elsewhere"))
    there = adapter.on_this_node()
    assert there.is_relative_to(tmp_path / "elsewhere")
    assert contents(there) == contents(local)


def test_an_adapter_that_was_rewritten_is_refused(
    cached: Callable[[], list[Path]],
    server: Server,
    bucket: str,
    write_adapter: AdapterWriter,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    where = server.upload(write_adapter(tmp_path / "r2"), bucket, "r2")
    adapter = open_adapter("tuned", where, model_folder)
    server.upload(write_adapter(tmp_path / "other", rank=3), bucket, "r2")
    with pytest.raises(AdapterError, match=rf"{where} was rewritten since the job began"):
        adapter.on_this_node()
    assert open_adapter("tuned", where, model_folder).rank == 3
    assert len(cached()) == 2


def test_a_model_that_was_rewritten_is_refused(
    cached: Callable[[], list[Path]],
    server: Server,
    bucket: str,
    job: JobBuilder,
    small_model: Path,
    tmp_path: Path,
) -> None:
    where = server.upload(small_model, bucket, "model")
    plan = make_plan(job(model={"source": where}))
    assert plan.model_on_this_node() == cached()[0]
    other = Path(shutil.copytree(small_model, tmp_path / "model"))
    (other / "config.json").write_text('{"model_type": "another"}')
    server.upload(other, bucket, "model")
    with pytest.raises(ModelError, match=rf"{where} was rewritten since the job began"):
        plan.model_on_this_node()


@pytest.mark.usefixtures("cached")
def test_an_adapter_that_is_not_there(bucket: str, model_folder: Path) -> None:
    for where in (f"s3://{bucket}/none", "s3://no-such-bucket/r2"):
        with pytest.raises(AdapterError, match=rf"variants\.tuned\.adapter: {where}: there are no"):
            open_adapter("tuned", where, model_folder)


@pytest.mark.usefixtures("cached", "strict")
def test_an_adapter_that_may_not_be_read(bucket: str, model_folder: Path) -> None:
    told = rf"variants\.tuned\.adapter: s3://{bucket}/r2 cannot be fetched: .*AWS_ACCESS_KEY_ID"
    with pytest.raises(StorageError, match=told):
        open_adapter("tuned", f"s3://{bucket}/r2", model_folder)


def test_what_is_fetched_is_whole_or_not_there(
    cached: Callable[[], list[Path]],
    server: Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("first")
    where = server.upload(tmp_path / "in", bucket, "in")
    from pyarrow import fs

    whole = fs.copy_files

    def overtaken(*arguments: object) -> None:
        whole(*arguments)
        (tmp_path / "in" / "a").write_text("second")
        server.upload(tmp_path / "in", bucket, "in")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "copy_files", overtaken)
        with pytest.raises(OSError, match="rewritten while it was fetched"):
            fetched(where)
    assert cached() == []
    assert contents(fetched(where)) == {"a": b"second"}


@pytest.mark.usefixtures("cached")
def test_a_model_is_a_folder_of_objects(server: Server, bucket: str, tmp_path: Path) -> None:
    from tests.chaos.tokenizer import write_tokenizer

    local = write_tokenizer(tmp_path / "model")
    where = server.upload(local, bucket, "model")
    folder = resolve_model(where)
    assert contents(folder) == contents(local)
    assert content_sha256(folder) == content_sha256(local)
    with pytest.raises(ModelError, match=rf"model\.source: there are no objects at {where}-2"):
        resolve_model(f"{where}-2")
