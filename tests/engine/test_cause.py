"""Why an engine died: told across processes, and never in words that may quote an opinion."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsent.engine import cause
from medsent.engine.cause import EngineMemoryError, Note
from medsent.errors import EngineDiedError
from tests.conftest import MARKER

LOGS = """
import logging, sys
from medsent.engine import cause

cause.listen("vllm")
cause.listen("vllm")
for line in sys.stdin:
    place, _, error = line.strip().partition("|")
    try:
        exec(error)
    except Exception:
        logging.getLogger("vllm.v1.engine.core").exception(place)
"""


@pytest.fixture
def note() -> Iterator[Note]:
    made = Note()
    yield made
    made.remove()


def log(note: Note, *lines: str) -> None:
    """Log errors in a process of the engine."""
    subprocess.run(
        [sys.executable, "-c", LOGS],
        input="\n".join(lines),
        text=True,
        check=True,
        env={**os.environ, **note.environment()},
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-99, "killed by signal 99"),
        (3, "exit code 3"),
        (None, "no cause is known"),
    ],
)
def test_without_a_note_the_way_it_ended_is_told(note: Note, code: int | None, told: str) -> None:
    died = note.died(code, 8)
    assert type(died) is EngineDiedError
    assert str(died) == f"the engine's process ended ({told})"


def test_errors_are_told_by_their_kinds_alone(note: Note) -> None:
    log(
        note,
        f"WorkerProc hit an exception.|raise ValueError('{MARKER}')",
        f"EngineCore encountered a fatal error.|raise RuntimeError('{MARKER}')",
        f"EngineCore encountered a fatal error.|raise RuntimeError('{MARKER}')",
    )
    assert str(note.died(-9, 8)) == "the engine's process ended (ValueError, RuntimeError)"


def test_an_error_at_the_start_is_told_in_its_own_words(note: Note) -> None:
    log(note, r"EngineCore failed to start.|raise ValueError('no memory for the cache\nmore')")
    assert (
        str(note.died(1, 8)) == "the engine's process ended (ValueError: no memory for the cache)"
    )


@pytest.mark.parametrize(
    "error",
    [
        "raise MemoryError()",
        "raise RuntimeError('CUDA error: out of memory')",
        'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried 8 bytes")',
        "raise type('OutOfMemoryError', (RuntimeError,), {})('Tried to allocate 2.00 GiB')",
        "raise RuntimeError('Worker failed') from MemoryError()",
    ],
)
@pytest.mark.parametrize("place", ["EngineCore encountered a fatal error.", "It failed to start."])
def test_a_lack_of_memory_is_told_apart(note: Note, error: str, place: str) -> None:
    log(note, f"{place}|{error}", f"{place}|raise RuntimeError('the worker is gone')")
    died = note.died(1, 8)
    assert isinstance(died, EngineMemoryError)
    assert died.max_num_seqs == 8
    assert str(died) == "out of memory with 8 sequences at a time"


def test_what_is_no_error_is_no_cause(note: Note) -> None:
    log(note, "Nothing happened.|pass")
    assert "no cause is known" in str(note.died(None, 8))


def test_a_note_that_is_gone_says_nothing(note: Note) -> None:
    note.remove()
    note.remove()
    assert not Path(note.path).exists()
    assert "no cause is known" in str(note.died(None, 8))


def test_a_process_without_an_owner_leaves_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cause.NOTE, raising=False)
    cause.leave("ValueError")
    cause.leave_nothing()
