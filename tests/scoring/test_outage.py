"""Storage that fails under a job: a clear end, nothing damaged, and the same command goes on."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medsent.commands.evaluate import evaluate
from medsent.config.job import JobConfig
from medsent.errors import StorageError
from medsent.runs.folder import RunFolder
from tests.conftest import JobBuilder, predictions_of

KIB = 1024
DISK = 4096 * KIB


class Disk:
    """A file system of its own, of 4 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, left: int) -> None:
        """Leave room for so many bytes."""
        with self._filler.open("wb") as file:
            file.write(bytes(DISK - left))

    def free(self) -> None:
        self._filler.unlink()

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", self.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield Disk(folder)
    _unmount(folder)


def _unmount(folder: Path) -> None:
    """Unmount, once no worker that failed to write holds its file open any more."""
    waited_until = time.monotonic() + 20
    while subprocess.run(["umount", folder], capture_output=True, check=False).returncode:
        assert time.monotonic() < waited_until, "something keeps a file of the disk open"
        time.sleep(0.5)


def on(disk: Disk, job: JobBuilder, **groups: Any) -> JobConfig:
    return job(output={"path": str(disk.folder / "runs")}, **groups)


def complete(config: JobConfig) -> None:
    """Run a job and check that it is whole."""
    run = RunFolder(evaluate(config).parent)
    table = predictions_of(run.path)
    assert table.num_rows == len(set(table["row_hash"].to_pylist())) == 24
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.records.scored == 24


@pytest.mark.ray
@pytest.mark.parametrize("left", [0, 160 * KIB], ids=["none", "little"])
def test_a_full_disk_ends_the_job_and_damages_nothing(
    disk: Disk, job: JobBuilder, cluster: None, left: int
) -> None:
    config = on(disk, job)
    disk.fill(left)
    with pytest.raises(StorageError, match=r"cannot write to .*: no space is left.*free some"):
        evaluate(config)
    disk.free()
    complete(config)


@pytest.mark.ray
def test_a_folder_that_may_not_be_written_to_ends_the_job(
    disk: Disk, job: JobBuilder, cluster: None
) -> None:
    config = on(disk, job)
    disk.remount("ro")
    with pytest.raises(StorageError, match=r"the file system is read-only\. .*; make it writable"):
        evaluate(config)
    disk.remount("rw")
    complete(config)
