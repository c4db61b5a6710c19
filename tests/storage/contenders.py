"""Who else is at a lease: processes that ask for it, and files as others would leave them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyarrow import fs

from medsent.storage.lease import Claim, Lease
from tests.conftest import logged

CONTENDER = """
import contextlib, socket, sys
folder, beat_s, expiry_s = sys.argv[1:]
from pyarrow import fs
from medsent.console import printing
from medsent.errors import LeaseError
from medsent.storage.lease import Lease

def say(line):
    print(line, flush=True)

for host in sys.stdin:
    if host.strip():
        socket.gethostname = host.strip
    lease = Lease(fs.LocalFileSystem(), folder, on_lost=lambda: say("lost"),
                  beat_s=float(beat_s), expiry_s=float(expiry_s))
    try:
        with printing(), lease:
            say("held")
            sys.stdin.readline()
        say("left")
    except LeaseError as error:
        say(f"refused: {error}")
        sys.stdin.readline()
"""
NEVER_S = 3600.0


class Contender:
    """A process that asks for the lease when told to."""

    def __init__(self, folder: Path, beat_s: float, expiry_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(folder), str(beat_s), str(expiry_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def goes_on(self, host: str = "") -> None:
        """Ask for the lease, from a host of that name where one is given; or give it back."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{host}\n")
        self.process.stdin.flush()

    def holds(self, host: str = "") -> None:
        self.goes_on(host)
        self.hears("held")

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def decision(self) -> str:
        """Return `held` or `refused`; it may say before that it waits."""
        while (word := self.answer().partition(":")[0]) not in ("held", "refused"):
            assert "is held by another job" in word
        return word

    def hears(self, expected: str) -> None:
        assert self.answer() == expected

    def dies(self, reaped: bool = True) -> None:
        self.process.kill()
        if reaped:
            self.process.wait()
        else:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # a zombie now


Start = Callable[..., Contender]


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Start contenders of the folder, and end them all."""
    started: list[Contender] = []

    def begin(beat_s: float = 0.1, expiry_s: float = NEVER_S) -> Contender:
        started.append(Contender(folder, beat_s, expiry_s))
        return started[-1]

    try:
        yield begin
    finally:
        for contender in started:
            contender.process.kill()
            contender.process.communicate()


class Saying(list[str]):
    """What a lease says, and how often it was lost."""

    losses = 0

    def lose(self) -> None:
        self.losses += 1


@contextmanager
def lease(folder: Path, said: Saying | None = None, **settings: Any) -> Iterator[Lease]:
    said = Saying() if said is None else said
    filesystem = settings.pop("filesystem", fs.LocalFileSystem())
    timing = {"beat_s": 0.05, "expiry_s": NEVER_S, **settings}
    with logged(said), Lease(filesystem, str(folder), on_lost=said.lose, **timing) as held:
        yield held


def claim(token: str = "another", **values: Any) -> Claim:
    """Return a holder's claim, from a host that is not this one unless so given."""
    elsewhere = {
        "host": "elsewhere",
        "boot_id": "another",
        "pid_namespace": "pid:[1]",
        "pid": 4321,
        "started": 1,
        "since": datetime(2026, 11, 25, 4, 30, tzinfo=UTC),
        "held": True,
    }
    return Claim.model_validate({"token": token, **elsewhere, **values})


def write(folder: Path, claim: Claim) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{claim.token}.json"
    file.write_text(claim.model_dump_json())
    return file


def read(folder: Path) -> Claim:
    """Return the only claim in the folder, read when it is whole."""
    while True:
        (file,) = folder.iterdir()
        try:
            return Claim.model_validate_json(file.read_text())
        except ValueError:
            time.sleep(0.001)


def own(folder: Path) -> Claim:
    """Return what a lease of this process writes."""
    with lease(folder, beat_s=60.0):
        return read(folder)


def freshen(file: Path) -> None:
    """Let a file be written just now, half a second ahead for the sake of a slow machine."""
    os.utime(file, (time.time() + 0.5,) * 2)


@contextmanager
def rewritten(work: Callable[[int], object]) -> Iterator[None]:
    """Keep writing a file, as a living owner does."""
    ended = threading.Event()

    def repeat() -> None:
        beat = 0
        while not ended.wait(0.02):
            beat += 1
            work(beat)

    thread = threading.Thread(target=repeat)
    work(0)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def beats(mine: Path, number: int) -> None:
    """Wait until a file has been written so many times more."""

    def beat() -> int:
        while True:
            try:
                return Claim.model_validate_json(mine.read_text()).beat
            except ValueError:
                time.sleep(0.001)

    first = beat()
    while beat() < first + number:
        time.sleep(0.005)
