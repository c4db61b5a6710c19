"""A lease: one holder at a time, whoever asks for it and whoever has died."""

import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from medsent.errors import LeaseError
from tests.storage.contenders import (
    Saying,
    Start,
    beats,
    claim,
    freshen,
    lease,
    own,
    read,
    rewritten,
    starting,
    write,
)

pytestmark = pytest.mark.slow

CONTENDERS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lease"


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    with starting(folder) as begin:
        yield begin


def test_a_second_job_is_refused_and_told_whom_to_wait_for(folder: Path, start: Start) -> None:
    first, second = start(), start()
    first.holds()
    second.goes_on()
    answer = second.answer()
    assert answer.startswith(f"refused: {folder.parent} is held by another job: process")
    assert f"process {first.pid} on {socket.gethostname()}, since 20" in answer
    assert answer.endswith("UTC. Wait for it, or end it; its lease ends with its process")


def test_a_lease_given_back_is_free_and_leaves_nothing(folder: Path, start: Start) -> None:
    first = start()
    first.holds()
    assert read(folder).held
    first.goes_on()
    first.hears("left")
    assert list(folder.iterdir()) == []
    with lease(folder) as taken:
        assert not taken.lost.is_set()


def test_a_refused_job_leaves_the_owner_undisturbed(folder: Path) -> None:
    said = Saying()
    with lease(folder, said) as owner:
        (mine,) = folder.iterdir()
        for _ in range(3):
            with pytest.raises(LeaseError), lease(folder):
                pytest.fail("two hold it")
        assert list(folder.iterdir()) == [mine]
        beats(mine, 3)
        assert not owner.lost.is_set()
    assert said == []


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_a_killed_owner_of_this_host_is_followed_at_once(
    folder: Path, start: Start, reaped: bool
) -> None:
    owner, said = start(), Saying()
    owner.holds()
    owner.dies(reaped)
    with lease(folder, said):
        assert read(folder).pid == os.getpid()
    (line,) = said
    assert re.fullmatch(
        rf"Taking over {folder.parent} from process {owner.pid} on .*: that process has ended\.",
        line,
    )


def test_a_process_id_used_again_is_not_the_owner(folder: Path) -> None:
    mine = own(folder)
    write(folder, claim(**mine.model_dump(exclude={"token"}) | {"started": mine.started - 1}))
    with lease(folder):
        assert read(folder).started == mine.started


def test_a_suspended_owner_of_this_host_keeps_its_lease(folder: Path, start: Start) -> None:
    owner = start()
    owner.holds()
    os.kill(owner.pid, signal.SIGSTOP)
    mine = read(folder)
    os.utime(folder / f"{mine.token}.json", (0, 0))
    with pytest.raises(LeaseError, match=f"process {owner.pid} "), lease(folder):
        pytest.fail("two hold it")


def test_a_process_of_another_container_is_not_thought_dead(folder: Path) -> None:
    mine, said = own(folder), Saying()
    there = mine.model_dump(exclude={"token"}) | {"pid_namespace": "pid:[1]"}
    freshen(write(folder, claim(**there)))
    with lease(folder, said, expiry_s=1.0):
        assert [line.split(" ")[0] for line in said] == [str(folder.parent), "Taking"]


def test_a_living_owner_of_another_host_is_not_followed(folder: Path, start: Start) -> None:
    owner = start()
    owner.holds("elsewhere")
    with (
        pytest.raises(LeaseError, match=f"process {owner.pid} on elsewhere, since ") as refused,
        lease(folder, expiry_s=30.0),
    ):
        pytest.fail("two hold it")
    assert str(refused.value).endswith(
        "Wait for it, or end it; its lease expires 30 s after its last beat"
    )


def test_a_dead_owner_of_another_host_is_waited_for_and_followed(
    folder: Path, start: Start
) -> None:
    owner, said = start(), Saying()
    owner.holds("elsewhere")
    owner.dies()
    freshen(next(folder.iterdir()))
    with lease(folder, said, expiry_s=1.0):
        assert read(folder).host == socket.gethostname()
    waits, follows = said
    assert waits.startswith(f"{folder.parent} is held by another job (process {owner.pid} on ")
    assert "its lease expires within 1 s" in waits
    assert follows.startswith(f"Taking over {folder.parent} from process {owner.pid} on elsewhere")
    assert follows.endswith("no beat for 1 s.")


def test_a_lease_that_expired_before_is_taken_without_waiting(folder: Path) -> None:
    said = Saying()
    os.utime(write(folder, claim()), (0, 0))
    with lease(folder, said, expiry_s=30.0):
        assert read(folder).token != "another"
    assert [line.split(" ")[0] for line in said] == ["Taking"]


def test_a_contender_that_died_elsewhere_is_not_in_the_way(folder: Path) -> None:
    said = Saying()
    write(folder, claim(token="0", held=False))
    with lease(folder, said, expiry_s=1.0):
        assert read(folder).held
    assert said == []


HALVES = [b"", b'{"token": "anot', b"\xff\x00", b"[]", b'{"pid": -1}']


@pytest.mark.parametrize("half", HALVES)
def test_a_half_written_file_expires(folder: Path, half: bytes) -> None:
    said = Saying()
    folder.mkdir(parents=True)
    (folder / "another.json").write_bytes(half)
    os.utime(folder / "another.json", (0, 0))
    with lease(folder, said, expiry_s=30.0):
        assert read(folder).pid == os.getpid()
    (line,) = said
    assert "from the unreadable file another.json: no beat for 30 s" in line


def test_a_half_written_file_that_nobody_writes_is_waited_for(folder: Path) -> None:
    said = Saying()
    folder.mkdir(parents=True)
    (folder / "another.json").touch()
    freshen(folder / "another.json")
    with lease(folder, said, expiry_s=1.0):
        assert read(folder).pid == os.getpid()
    assert [line.split(" ")[0] for line in said] == [str(folder.parent), "Taking"]


def test_a_half_written_file_that_somebody_writes_is_an_owner(folder: Path) -> None:
    folder.mkdir(parents=True)
    file = folder / "another.json"
    with (
        rewritten(lambda beat: file.write_bytes(b"{" * (beat + 1))),
        pytest.raises(LeaseError, match=r"the unreadable file another\.json"),
        lease(folder),
    ):
        pytest.fail("two hold it")
    assert list(folder.iterdir()) == [file]


def test_of_many_that_start_at_once_one_holds(folder: Path, start: Start) -> None:
    contenders = [start() for _ in range(CONTENDERS)]
    everywhere = [f"host-{number}" for number in range(CONTENDERS)]
    here = [socket.gethostname()] * CONTENDERS
    for hosts in [here, everywhere] * 3:
        for contender, host in zip(contenders, hosts, strict=True):
            contender.goes_on(host)
        answers = [contender.decision() for contender in contenders]
        assert sorted(answers) == ["held"] + ["refused"] * (CONTENDERS - 1)
        for contender in contenders:
            contender.goes_on()
        contenders[answers.index("held")].hears("left")


class Slow(fs.LocalFileSystem):  # type: ignore[misc]
    """Storage whose every step takes its own time."""

    def get_file_info(self, *arguments: Any) -> Any:
        return self._slowly(super().get_file_info, *arguments)

    def open_output_stream(self, *arguments: Any) -> Any:
        return self._slowly(super().open_output_stream, *arguments)

    def delete_file(self, *arguments: Any) -> Any:
        return self._slowly(super().delete_file, *arguments)

    def _slowly(self, step: Callable[..., Any], *arguments: Any) -> Any:
        time.sleep(random.expovariate(200))
        result = step(*arguments)
        time.sleep(random.expovariate(200))
        return result


@pytest.mark.parametrize("seed", range(4))
def test_on_slow_storage_one_of_many_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: threading.current_thread().name)
    random.seed(seed)
    inside, decided = [], threading.Barrier(CONTENDERS)

    def contend(number: int) -> None:
        try:
            with lease(folder, filesystem=Slow(), beat_s=0.1):
                inside.append(number)
                decided.wait()
        except LeaseError:
            decided.wait()

    with ThreadPoolExecutor(CONTENDERS) as threads:
        list(threads.map(contend, range(CONTENDERS)))
    assert len(inside) == 1


def test_beats_too_rare_for_the_expiry_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="three times"):
        lease(folder, beat_s=5.0, expiry_s=10.0).__enter__()
