"""The scripted engine's own process: `python -m medsent.engine.scripted.process SETTINGS`.

Requests come in on stdin, answers go out on stdout, both in frames of many. It imports
next to nothing, so that it starts at once.
"""

import hashlib
import json
import marshal
import os
import select
import signal
import struct
import sys
import time
from collections import deque
from typing import Any, NoReturn

from medsent.engine import crash_report, watchdog
from medsent.engine.library_errors import OUT_OF_MEMORY
from medsent.engine.scripted.faults import Faults

Query = tuple[int, list[int], str | None, int]
"""Number, prompt, adapter, and how many chances are wanted."""
Reply = tuple[int, list[float]]
"""Number, and the chances: what the answer is made of."""

READ_BYTES = 1 << 20

_LENGTH = struct.Struct("I")


def frame(values: list[Any]) -> bytes:
    """Return a list of plain values as bytes that tell their length first."""
    data = marshal.dumps(values)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Puts a stream's pieces together again."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def values(self, piece: bytes) -> list[Any]:
        """Return the values of all frames that are complete with this piece."""
        self._rest += piece
        found: list[Any] = []
        start, head = 0, _LENGTH.size
        while len(self._rest) - start >= head:
            end = start + head + _LENGTH.unpack_from(self._rest, start)[0]
            if end > len(self._rest):
                break
            found += marshal.loads(self._rest[start + head : end])
            start = end
        del self._rest[:start]
        return found


class ScriptedProcess:
    """Answers queries in their order, `max_num_seqs` at a time, each after `latency_s`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._latency_s: float = settings["latency_s"]
        self._seqs: int = settings["max_num_seqs"]
        self._faults = Faults.of_this_process()
        self._frames = Frames()
        self._waiting: deque[tuple[float, Query]] = deque()
        self._ends: deque[float] = deque(maxlen=self._seqs)

    def run(self) -> None:
        """Answer until stdin ends."""
        _send([])  # it is ready
        while self._take():
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                self._step(now)

    def _take(self) -> bool:
        """Wait for queries or for the next answer's time; returns whether stdin is open."""
        left = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
        if select.select([sys.stdin], [], [], left)[0]:
            piece = os.read(sys.stdin.fileno(), READ_BYTES)
            if not piece:
                return False
            for query in self._frames.values(piece):
                self._admit(query)
        return True

    def _admit(self, query: Query) -> None:
        """Give a query its place: at once, or when the one `max_num_seqs` before it ends."""
        start = time.monotonic()
        if len(self._ends) == self._seqs:
            start = max(start, self._ends[0])
        self._ends.append(start + self._latency_s)
        self._waiting.append((start + self._latency_s, query))
        if min(len(self._waiting), self._seqs) > (self._faults.memory_for or self._seqs):
            crash_report.leave(crash_report.Trace(OUT_OF_MEMORY))
            os._exit(1)

    def _step(self, now: float) -> None:
        """Answer what is due, as one step of an engine: all of it or, where one kills, none."""
        replies: list[Reply] = []
        while self._waiting and self._waiting[0][0] <= now and len(replies) < self._seqs:
            query = self._waiting.popleft()[1]
            self._meet_fault(query[1])
            replies.append((query[0], chances(*query[1:])))
        _send(replies)

    def _meet_fault(self, prompt: list[int]) -> None:
        if self._faults.deadly_token in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._faults.hanging_token in prompt:
            _hang()


def chances(prompt: list[int], adapter: str | None, count: int) -> list[float]:
    """Return numbers in (0, 1) made from the prompt and the adapter's name, always the same."""
    key = struct.pack(f"{len(prompt)}I", *prompt)
    digest = hashlib.shake_256(key + (adapter or "").encode()).digest(2 * count)
    return [(value + 0.5) / 65536 for value in struct.unpack(f"{count}H", digest)]


def _send(replies: list[Reply]) -> None:
    data = memoryview(frame(replies))
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def _hang() -> NoReturn:
    while os.read(sys.stdin.fileno(), READ_BYTES):
        pass
    sys.exit()


def main() -> None:
    """Run until stdin ends, which the owner's end does too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner's to handle
    watchdog.watch()
    try:
        ScriptedProcess(json.loads(sys.argv[1])).run()
    except BrokenPipeError:
        pass  # the owner ended while it was being answered
    finally:
        crash_report.leave_nothing()


if __name__ == "__main__":
    main()
