"""A contender in a process of its own that stays: started once, asked in many rounds."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final

import psutil

from medsent.engine import cpu

_END_S: Final = 30


class Worker:
    """An object made in another process; its methods are called by name.

    Between calls its processes are stopped: even an idle engine looks for work.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, openmp: bool = False) -> None:
        """Start the process and make the object; `start_s` is what that took.

        With `openmp` torch gets the same OpenMP in it as vLLM has.
        """
        began = time.monotonic()
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, make, arguments))
        with _variables(_openmp() if openmp else {}):
            self._process.start()
        theirs.close()
        self._ours.recv()
        self.start_s = time.monotonic() - began
        self._stop()

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a method and return what it returns; `EOFError` where the process ended."""
        self._go_on()
        self._ours.send((name, arguments))
        found = self._ours.recv()
        self._stop()
        return found

    def _family(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def _stop(self) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def _go_on(self) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ours.close()
        family = self._family()
        self._go_on()
        self._process.join(_END_S)
        self._process.kill()
        for process in family[1:]:  # an engine may outlive who started it
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _openmp() -> dict[str, str]:
    return {k: v for k, v in cpu.environment(1).items() if k == "LD_PRELOAD"}


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


def _serve(theirs: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    made = make(*arguments)
    theirs.send("ready")
    while True:
        try:
            name, asked = theirs.recv()
        except EOFError:
            break
        theirs.send(getattr(made, name)(*asked))
    getattr(made, "close", lambda: None)()
