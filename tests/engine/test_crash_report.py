"""Why an engine died: told across processes, and never in words that may quote an opinion."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsent.engine import crash_report
from medsent.engine.crash_report import CrashReport, EngineMemoryError, Trace
from medsent.engine.footprint import Footprint
from medsent.errors import EngineDiedError, EngineError
from tests.conftest import MARKER

LOGS = """
import logging, logging.config, sys
from medsent.engine import crash_report

crash_report.listen("vllm")
crash_report.listen("vllm")
logging.config.dictConfig({"version": 1, "loggers": {"vllm": {"level": "ERROR"}}})  # as vLLM does
for line in sys.stdin:
    place, _, error = line.strip().partition("|")
    try:
        exec(error)
    except Exception:
        logging.getLogger("vllm.v1.engine.core").exception(place)
"""
EIGHT = Footprint(8)
ON_GPU = Footprint(1024, 16384, 0.9)
ON_CPU = Footprint(64, 2048, kv_cache_gib=2)
CORE = RuntimeError(
    "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
)
WAITS = (
    "EngineCore failed to start.|raise Exception('WorkerProc initialization failed due to an "
    "exception in a background process. See stack trace for root cause.')"
)


@pytest.fixture
def note() -> Iterator[CrashReport]:
    made = CrashReport()
    yield made
    made.remove()


def log(note: CrashReport, *lines: str) -> None:
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
def test_without_a_note_the_way_it_ended_is_told(
    note: CrashReport, code: int | None, told: str
) -> None:
    died = note.died(code, EIGHT)
    assert type(died) is EngineDiedError
    assert str(died) == f"the engine's process ended ({told})"


def test_errors_are_told_by_their_kinds_alone_once_it_serves(note: CrashReport) -> None:
    log(note, "It warms up.|raise KeyError('nobody was harmed')")
    note.serves()
    log(
        note,
        f"WorkerProc hit an exception.|raise ValueError('{MARKER}')",
        f"EngineCore encountered a fatal error.|raise RuntimeError('{MARKER}')",
        f"EngineCore encountered a fatal error.|raise RuntimeError('{MARKER}')",
    )
    assert MARKER not in Path(note.path).read_text()
    assert str(note.died(-9, EIGHT)) == "the engine's process ended (ValueError, RuntimeError)"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        pytest.param(
            ["EngineCore failed to start.|raise ValueError('no such shape')"],
            "ValueError: no such shape",
            id="in the core",
        ),
        pytest.param(
            ["WorkerProc failed to start.|raise KeyError('layers.3')", WAITS],
            "KeyError: 'layers.3'",
            id="in a worker",
        ),
        pytest.param(
            [
                "WorkerProc hit an exception.|raise AssertionError('odd heads')",
                "EngineCore failed to start.|raise RuntimeError(\"Worker failed with error 'odd "
                "heads', please check the stack trace above for the root cause\")",
            ],
            "AssertionError: odd heads",
            id="in a worker that had started",
        ),
        pytest.param(
            [
                "WorkerProc failed to start.|raise ImportError('no kernel')",
                "WorkerProc failed to start.|raise ConnectionResetError('by peer')",
                WAITS,
            ],
            "ImportError: no kernel",
            id="in the first of several workers",
        ),
        pytest.param(
            [
                "Something was tried.|raise OSError('and mended')",
                "WorkerProc failed to start.|raise TypeError('head_dim')",
                WAITS,
            ],
            "TypeError: head_dim",
            id="after one that was mended",
        ),
        pytest.param(
            [r"EngineCore failed to start.|raise RuntimeError('Errors in loading:\n  size of a')"],
            "RuntimeError: Errors in loading: size of a",
            id="under a heading",
        ),
        pytest.param(
            [
                "EngineCore failed to start.|raise ValueError('cannot compile') from "
                "OSError('gcc is not there')"
            ],
            "ValueError: cannot compile (from OSError: gcc is not there)",
            id="with a cause of its own",
        ),
    ],
)
def test_a_failed_start_tells_its_root_cause(
    note: CrashReport, lines: list[str], told: str
) -> None:
    log(note, *lines)
    failure = note.did_not_start(CORE, EIGHT)
    assert type(failure) is EngineError
    assert str(failure) == f"vLLM did not start: {told}"


def test_an_error_of_this_process_that_points_at_its_log_is_looked_up(note: CrashReport) -> None:
    log(
        note,
        "Error in inspecting model architecture|raise RuntimeError('Error raised in subprocess:"
        r"\nTraceback (most recent call last):\n  File pynccl.py\nModuleNotFoundError: "
        'No module named "torchvision"\')',
    )
    pointing = ValueError("It failed to be inspected. Please check the logs for more details.")
    failure = note.did_not_start(pointing, EIGHT)
    assert type(failure) is EngineError
    assert str(failure) == (
        'vLLM did not start: ModuleNotFoundError: No module named "torchvision"; install it where '
        "engines run"
    )
    own = ValueError("block_size must be one of 16, 32")
    assert "block_size must be" in str(note.did_not_start(own, EIGHT))


@pytest.mark.parametrize(
    ("lines", "error", "told"),
    [
        ([], CORE, "its process ended (no cause is known)"),
        ([WAITS], CORE, "its process ended (no cause is known)"),
        ([], RuntimeError(f"{CORE}".replace("{}", "{'EngineCore_DP0': -9}")), "killed by SIGKILL"),
        (
            ["WorkerProc failed to start.|raise RuntimeError('CUDA error: an ECC error')", WAITS],
            CORE,
            "RuntimeError: CUDA error: an ECC error",
        ),
        (
            [
                "EngineCore failed to start.|raise ValueError('Free memory on device cuda:0 "
                "(20.1/79.1 GiB) on startup is less than desired GPU memory utilization')"
            ],
            CORE,
            "end what else holds that GPU's memory, or lower engine.gpu_memory_utilization",
        ),
        ([], TimeoutError("no answer in 600 s"), "TimeoutError: no answer in 600 s"),
        ([], ValueError("Please check the logs for more details."), "ValueError: Please check"),
    ],
)
def test_what_may_not_come_again_is_worth_another_start(
    note: CrashReport, lines: list[str], error: Exception, told: str
) -> None:
    log(note, *lines)
    failure = note.did_not_start(error, ON_GPU)
    assert type(failure) is EngineDiedError
    assert told in str(failure)


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
def test_a_lack_of_memory_is_told_apart(note: CrashReport, error: str, place: str) -> None:
    log(note, f"{place}|{error}", f"{place}|raise RuntimeError('the worker is gone')")
    for failure in (note.died(1, ON_GPU), note.did_not_start(CORE, ON_GPU)):
        assert isinstance(failure, EngineMemoryError)
        assert str(failure) == (
            "out of memory with 1024 sequences and 16384 tokens at a time, 0.9 of the GPU's memory"
        )
        assert failure.smaller == Footprint(256, 4096, 0.8)


CACHE = "raise ValueError('No available memory for the cache blocks. Try increasing it.')"


def test_no_room_for_the_cache_asks_for_smaller_batches_and_no_smaller_part(
    note: CrashReport,
) -> None:
    log(note, f"EngineCore failed to start.|{CACHE}")
    failure = note.did_not_start(CORE, ON_GPU)
    assert isinstance(failure, EngineMemoryError)
    assert failure.smaller == Footprint(256, 4096, 0.9)
    assert "raise engine.gpu_memory_utilization" in str(failure)
    on_cpu = note.did_not_start(CORE, ON_CPU)
    assert type(on_cpu) is EngineError


def test_what_is_no_error_is_no_cause(note: CrashReport) -> None:
    log(note, "Nothing happened.|pass")
    assert "no cause is known" in str(note.died(None, EIGHT))


def test_a_note_that_is_gone_or_torn_says_nothing(note: CrashReport) -> None:
    Path(note.path).write_text('{"kind": "Val\n{"other": 1}\n7\n')
    assert "no cause is known" in str(note.died(None, EIGHT))
    note.remove()
    note.remove()
    note.serves()
    Path(note.path).unlink()
    assert "no cause is known" in str(note.died(None, EIGHT))


def test_a_process_without_an_owner_leaves_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(crash_report.NOTE, raising=False)
    crash_report.leave(Trace("ValueError"))
    crash_report.leave_nothing()
