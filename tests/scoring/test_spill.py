"""What Ray spills to disk: its owner's alone; gone with the process, or at the next start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medsent.errors import ConfigError
from medsent.scoring.spill import remove, spill_base, spill_folder
from tests.conftest import MARKER

SPILLS = f"""
import os, signal, sys
from pathlib import Path
import numpy as np, ray
from medsent.config.job import JobConfig
from medsent.scoring.cluster import connect
from tests.conftest import job_values
connect(JobConfig.model_validate(job_values(Path("in"), Path("out"), Path("model"))))
kept = [ray.put(np.frombuffer({MARKER!r}.encode() * 2_000_000, np.uint8)) for _ in range(6)]
print("spilled", flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_object_spilling_directory", str(tmp_path))
    return tmp_path


def test_it_is_its_owners_alone_and_goes_when_it_is_told_to() -> None:
    folder = spill_folder()
    assert [path.stat().st_mode & 0o777 for path in (folder, spill_base())] == [0o700, 0o700]
    (folder / "object").touch()
    assert spill_folder() != folder
    assert (folder / "object").exists(), "its process lives"
    remove(folder)
    assert not folder.exists()


def test_what_others_could_read_is_refused(place: Path) -> None:
    base = place / f"medsent-spill-{os.getuid()}"
    base.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="is not of this user alone"):
        spill_folder()
    base.rmdir()
    (place / "elsewhere").mkdir(mode=0o700)
    base.symlink_to(place / "elsewhere")
    with pytest.raises(ConfigError, match="is not of this user alone"):
        spill_folder()


def spilling(how: str) -> "subprocess.CompletedProcess[str]":
    """Start a Ray whose memory is too small for what is put into it."""
    small = {"RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(90_000_000)}
    environment = {**os.environ, **small}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run(
        [sys.executable, "-c", SPILLS, how],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def spilled() -> list[Path]:
    return [path for path in spill_base().rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.ray
def test_opinions_that_a_killed_ray_spilled_go_at_the_next_start() -> None:
    done = spilling("kill")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(MARKER.encode() in path.read_bytes() for path in spilled())
    spill_folder()
    assert spilled() == []


@pytest.mark.ray
def test_of_one_that_ends_by_itself_nothing_is_left() -> None:
    done = spilling("end")
    assert (done.returncode, done.stdout) == (0, "spilled\n"), done.stderr
    assert spilled() == []
