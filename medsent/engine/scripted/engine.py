"""A scripted engine for tests of orchestration: a process of its own, and no model in it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from medsent.config.engine import ScriptedSettings
from medsent.engine import watchdog
from medsent.engine.crash_report import CrashReport
from medsent.engine.footprint import Footprint
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted.answer import chances_for, make_answer
from medsent.engine.scripted.faults import Faults
from medsent.engine.scripted.process import READ_BYTES, Frames, Query, Reply, frame
from medsent.errors import EngineDiedError

_ROOT = Path(__file__).parents[3]


class ScriptedEngine:
    """Gives every request the same answer each time, whatever the order or the company.

    Answers without a grammar are unusable now and then: see `medsent.engine.scripted.answer`.

    Requests belong to one event loop at a time.
    """

    def __init__(
        self,
        settings: ScriptedSettings,
        footprint: Footprint | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Start the process; `footprint` goes before the settings', `faults` are for tests."""
        self._footprint = footprint or Footprint(settings.max_num_seqs)
        self.max_num_seqs = self._footprint.max_num_seqs
        self._note = CrashReport()
        self._process = _start(settings.latency_s, self.max_num_seqs, self._note, faults)
        self._inlet, self._outlet = _pipe(self._process.stdin), _pipe(self._process.stdout)
        self._frames = Frames()
        self._outbox: list[Query] = []
        self._unsent = bytearray()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._sent = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._died: EngineDiedError | None = None
        if not os.read(self._outlet.fileno(), READ_BYTES):  # it says when it is ready
            died = self._note.died(self._process.wait(), self._footprint)
            self.close()
            raise died
        os.set_blocking(self._inlet.fileno(), False)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    async def complete(self, request: Request) -> Completion:
        started = time.monotonic()
        _, found = await self._reply(request)
        answer = make_answer(request.ask, found)
        return Completion(
            text="".join(answer.pieces),
            logprobs=answer.logprobs,
            pieces=tuple(answer.pieces),
            truncated=answer.truncated,
            prompt_tokens=len(request.prompt),
            cached_tokens=0,
            output_tokens=max(1, len(answer.logprobs)),
            latency_s=time.monotonic() - started,
            finished_at=datetime.now(UTC),
        )

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        loop = self._loop
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(self._disconnect)  # it alone may touch what it watches
        else:
            self._disconnect()

    async def _reply(self, request: Request) -> Reply:
        if self._died is not None:
            raise EngineDiedError(str(self._died))
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._outbox = loop, []
            loop.add_reader(self._outlet.fileno(), self._receive)
        if not self._outbox:
            loop.call_soon(self._flush)  # what else is asked in this turn goes with it
        self._sent += 1
        number, ask = self._sent, request.ask
        self._outbox.append((number, request.prompt, request.adapter, chances_for(ask)))
        reply: asyncio.Future[Reply] = loop.create_future()
        self._waiting[number] = reply
        try:
            return await reply
        finally:
            self._waiting.pop(number, None)

    def _flush(self) -> None:
        """Write what the pipe takes, and the rest once it takes more."""
        if self._died is not None or self._loop is None:
            return
        if self._outbox:
            self._unsent += frame(self._outbox)
            self._outbox = []
        try:
            written = os.write(self._inlet.fileno(), self._unsent)
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            return  # the other pipe's end tells
        del self._unsent[:written]
        if self._unsent:
            self._loop.add_writer(self._inlet.fileno(), self._flush)
        else:
            self._loop.remove_writer(self._inlet.fileno())

    def _receive(self) -> None:
        piece = os.read(self._outlet.fileno(), READ_BYTES)
        if not piece:
            self._process.kill()
            self._process.wait()
            self._disconnect()
        for reply in self._frames.values(piece):
            waiting = self._waiting.get(reply[0])  # it may have been given up
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)

    def _disconnect(self) -> None:
        """Tell those who wait that the process has ended, and free what it leaves."""
        if self._died is not None:
            return
        self._died = self._note.died(self._process.returncode, self._footprint)
        self._note.remove()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._outlet.fileno())
            self._loop.remove_writer(self._inlet.fileno())
        self._inlet.close()
        self._outlet.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._died)


def _start(
    latency_s: float, max_num_seqs: int, note: CrashReport, faults: Faults | None
) -> "subprocess.Popen[bytes]":
    values = {"latency_s": latency_s, "max_num_seqs": max_num_seqs}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {
        **watchdog.environment(),
        **note.environment(),
        **(faults.environment() if faults else {}),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "medsent.engine.scripted.process", json.dumps(values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **variables},
            bufsize=0,
        )
    except OSError as error:
        note.remove()
        raise EngineDiedError(f"no process could be started: {error.strerror}") from None


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # as Popen was asked for it
    return pipe
