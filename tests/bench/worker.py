"""A contender in a process of its own that stays: started once, asked in many rounds."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final

import psutil

from medsent.engine import cpu
from medsent.engine.library_errors import first_line

_END_S: Final = 30
_LOOK_S: Final = 0.2


class Worker:
    """An object made in another process; its methods are called by name.

    Between calls the processes that it started are stopped: even an idle engine looks for work.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, as_engine: bool = False) -> None:
        """Start the process and make the object; `start_s` is what that took.

        With `as_engine` torch has the OpenMP and the memory settings in it that vLLM has.
        """
        began = time.monotonic()
        self._started: list[psutil.Process] = []
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, make, arguments))
        with _variables(_engine_variables() if as_engine else {}):
            self._process.start()
        theirs.close()
        try:
            while not self._ours.poll(_LOOK_S):  # what it starts is to end with it
                self._started = _started_by(self._process.pid) or self._started
            self._received()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.start_s = time.monotonic() - began
        self._stop()

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a method and return what it returns; `SystemExit` where the process ended."""
        _signal(self._started, psutil.Process.resume)
        with suppress(BrokenPipeError):  # what it left is told below
            self._ours.send((name, arguments))
        found = self._received()
        self._stop()
        return found

    def _received(self) -> Any:
        try:
            found = self._ours.recv()
        except (EOFError, ConnectionError):
            self._process.join(_END_S)
            code = self._process.exitcode
            raise SystemExit(f"a contender's process ended with exit code {code}") from None
        if isinstance(found, _Failed):
            raise SystemExit(found.reason)
        return found

    def _stop(self) -> None:
        self._started = _started_by(self._process.pid)
        _signal(self._started, psutil.Process.suspend)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ours.close()
        family = {*self._started, *_started_by(self._process.pid)}
        _signal(family, psutil.Process.resume)
        try:
            self._process.join(_END_S)
        finally:
            self._process.kill()
            _signal(family, psutil.Process.kill)  # an engine may outlive who started it


def _started_by(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(processes: Iterable[psutil.Process], how: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            how(process)


def _engine_variables() -> dict[str, str]:
    return {k: v for k, v in cpu.environment(1).items() if not k.startswith("VLLM_")}


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a process that is started meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class _Failed:
    """What is sent in the place of an answer."""

    reason: str


def _serve(theirs: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        _answer(theirs, make, arguments)
    except BaseException as error:
        kind = "" if isinstance(error, SystemExit) else f"{type(error).__name__}: "
        theirs.send(_Failed(kind + first_line(error)))
        raise


def _answer(theirs: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    made = make(*arguments)
    theirs.send("ready")
    try:
        while (asked := _next(theirs)) is not None:
            name, given = asked
            theirs.send(getattr(made, name)(*given))
    finally:
        _signal(_started_by(os.getpid()), psutil.Process.resume)
        getattr(made, "close", lambda: None)()


def _next(theirs: Connection) -> Any:
    """Return what is asked next; None at the end, also where the bench was killed."""
    try:
        return theirs.recv()
    except (EOFError, ConnectionError):
        return None
