"""No process of an engine outlives its owner, whatever killed that."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.engine import watchdog
from medsent.engine.crash_report import CrashReport
from medsent.engine.vllm import EnginePlan

pytestmark = pytest.mark.slow

WATCHING = """
import subprocess, sys, time
from medsent.engine import watchdog

watchdog.register()
if int(sys.argv[1]) > 1:
    subprocess.Popen([sys.executable, "-c", sys.argv[2], str(int(sys.argv[1]) - 1), sys.argv[2]])
print(__import__("os").getpid(), flush=True)
time.sleep(3600)
"""
"""A process of an engine, and those that it starts in its turn; tells their numbers."""

OWNER = f"""
import os, subprocess, sys, time
from medsent.engine import watchdog
from medsent.engine.crash_report import CrashReport

variables = {{**os.environ, **watchdog.environment(), **CrashReport().environment()}}
code = {WATCHING!r}
subprocess.run([sys.executable, "-c", code, "3", code], env=variables)
"""

SCRIPTED = """
import asyncio, sys, time
from medsent.config.engine import ScriptedSettings
from medsent.engine.protocol import Ask, Request
from medsent.engine.scripted.engine import ScriptedEngine
from medsent.engine.scripted.faults import Faults

async def hang():
    engine = ScriptedEngine(ScriptedSettings(kind="scripted"), faults=Faults(hanging_token=9))
    print(engine.pid, engine._note.path, flush=True)
    await engine.complete(Request([int(sys.argv[1])], Ask(1, (1,)), None))
    print("answered", flush=True)
    time.sleep(3600)

asyncio.run(hang())
"""


@contextmanager
def started(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start an owner; kill it at the latest at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def until(condition: Callable[[], bool]) -> None:
    """Wait; what never happens ends with pytest's own time limit."""
    while not condition():
        time.sleep(0.05)


def test_all_generations_end_with_an_owner_that_was_killed() -> None:
    with started(OWNER) as owner:
        pids = [int(line(owner)) for _ in range(3)]
        [note] = {mark(pid) for pid in pids}
        assert sorted(watchdog.members(note)) == sorted(pids)
        owner.kill()  # and not waited for: a zombie is an owner no more
        until(lambda: not any(map(watchdog.is_alive, pids)))
        assert not Path(note).exists()


def mark(pid: int) -> str:
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    [path] = [v.partition("=")[2] for v in variables if v.startswith("MEDSENT_ENGINE_NOTE=")]
    return path


@pytest.mark.parametrize("token", [2, 9])
def test_the_scripted_engine_ends_with_its_owner_also_while_it_hangs(token: int) -> None:
    with started(SCRIPTED, str(token)) as owner:
        pid, note = line(owner).split()
        if token != 9:
            assert line(owner) == "answered"
        assert watchdog.is_alive(int(pid))
        owner.kill()
        until(lambda: not watchdog.is_alive(int(pid)))
    assert not Path(note).exists()


def test_a_stopped_process_is_found_by_its_note_and_ended() -> None:
    note = CrashReport()
    with subprocess.Popen(
        [sys.executable, "-c", WATCHING, "1", ""],
        env={**os.environ, **watchdog.environment(), **note.environment()},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert line(process) == str(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        assert watchdog.members(note.path) == [process.pid]
        watchdog.kill([process.pid])
    assert watchdog.members(note.path) == []
    watchdog.kill([process.pid])
    note.remove()


def test_a_process_that_gave_itself_a_name_is_found() -> None:
    """As vLLM's do: the name is written over the variables with which a process started."""
    settings = ModelSettings(source="no-model")
    plan = EnginePlan(settings.source, VllmSettings(device="gpu"), settings)
    note = CrashReport()
    code = "import setproctitle; setproctitle.setproctitle('VLLM::EngineCore'); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **plan.environment(), **note.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert line(process) == ""
        assert Path(f"/proc/{process.pid}/cmdline").read_text().startswith("VLLM::EngineCore")
        assert watchdog.members(note.path) == [process.pid]
        process.kill()
    note.remove()


def test_another_process_of_the_owners_number_is_not_the_owner() -> None:
    variables = {**os.environ, watchdog.OWNER: f"{os.getpid()}:1"}
    ended = subprocess.run(
        [sys.executable, "-c", WATCHING, "1", ""], env=variables, check=False, capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("owner", ["", "nonsense", f"{os.getpid()}:0"], ids=["no", "bad", "own"])
def test_who_has_no_owner_or_is_the_owner_does_not_watch(
    owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(watchdog.OWNER, owner)
    assert not watchdog.watch()
