"""An owner notices that its lease is gone: taken, slept through, or not to be renewed."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from tests.storage.contenders import Saying, beats, claim, lease, rewritten, starting, write

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lease"


def test_an_owner_whose_file_is_deleted_has_lost(folder: Path) -> None:
    said = Saying()
    with lease(folder, said) as owner:
        next(folder.iterdir()).unlink()
        assert owner.lost.wait(60)
    assert list(folder.iterdir()) == []
    assert said.losses == 1
    assert said == [
        f"The lease on {folder.parent} is lost: its file is gone, so another job may have "
        "taken over."
    ]


def test_an_owner_beside_whom_another_holds_and_beats_has_lost(folder: Path) -> None:
    said = Saying()
    with lease(folder, said) as owner, rewritten(lambda beat: write(folder, claim(beat=beat))):
        assert owner.lost.wait(60)
    assert [file.name for file in folder.iterdir()] == ["another.json"]
    assert said.losses == 1
    assert "another job has taken over (process 4321 on elsewhere, since 2026-11-25" in said[0]


def test_a_contender_that_is_about_to_give_way_takes_nothing(folder: Path) -> None:
    with lease(folder) as owner:
        (mine,) = folder.iterdir()
        write(folder, claim())
        beats(mine, 4)
        assert not owner.lost.is_set()


def test_an_owner_that_was_suspended_has_lost(folder: Path) -> None:
    with starting(folder) as start:
        owner = start(expiry_s=1.0)
        owner.holds()
        os.kill(owner.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(owner.pid, signal.SIGCONT)
        assert "this process was suspended" in owner.answer()
        owner.hears("lost")
        owner.goes_on()
        owner.hears("left")
    assert list(folder.iterdir()) == []


class Broken(fs.LocalFileSystem):  # type: ignore[misc]
    """Storage that refuses the next writes, or keeps them waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 0
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()

    def open_output_stream(self, *arguments: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise OSError(28, "No space left on device")
        if not self.open.is_set():
            self.waiting.set()
            self.open.wait()
        return super().open_output_stream(*arguments)


def test_a_beat_that_fails_is_tried_again(folder: Path) -> None:
    storage = Broken()
    with lease(folder, filesystem=storage) as owner:
        (mine,) = folder.iterdir()
        storage.refusals = 3
        beats(mine, 5)
        assert storage.refusals == 0
        assert not owner.lost.is_set()


def test_an_owner_that_cannot_write_until_its_lease_expires_has_lost(folder: Path) -> None:
    said, storage = Saying(), Broken()
    with lease(folder, said, filesystem=storage, expiry_s=0.5) as owner:
        storage.refusals = sys.maxsize
        assert owner.lost.wait(60)
    assert said.losses == 1
    assert "storage failed" in said[0]


def test_a_write_that_hangs_does_not_bring_a_lost_lease_back(folder: Path) -> None:
    said, storage = Saying(), Broken()
    with lease(folder, said, filesystem=storage, expiry_s=1.0) as owner:
        storage.open.clear()
        assert storage.waiting.wait(60)
        assert owner.lost.wait(60)
        storage.open.set()
    assert said.losses == 1
    assert list(folder.iterdir()) == []


def test_storage_that_fails_at_the_start_is_said_as_such(folder: Path) -> None:
    storage = Broken()
    storage.refusals = 1
    with pytest.raises(OSError, match="No space"), lease(folder, filesystem=storage):
        pytest.fail("it holds nothing")
    assert list(folder.iterdir()) == []
