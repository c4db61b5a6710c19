"""Progress while work is long: a bar on a terminal, plain lines elsewhere."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medsent.console import has_terminal
from medsent.engine.events import EventKind
from medsent.runs.log import EngineLogged
from medsent.scoring.monitor import EngineEvent, Status

logger = logging.getLogger(__name__)

_LINE_EVERY_S = 15.0
_WORDS = {
    EventKind.DEATH: "its engine died; a new one is started, and what was in flight is asked again",
    EventKind.HANG: "its engine answers no more; a new one is started",
    EventKind.OUT_OF_MEMORY: (
        "its engine ran out of memory; a new one takes fewer records at a time"
    ),
    EventKind.KILLER: "a record that kills engines was found and is quarantined",
    EventKind.RESTART: "the actor was replaced; its records are scored again",
    EventKind.GAVE_UP: "its engines only die; the actor is replaced",
    EventKind.NO_START: "its engine does not start; it is tried again where others work",
}

Log = Callable[[EngineLogged], None]


class ScoringProgress:
    """Shows how far scoring is; a context manager whose `update` is the pipeline's watch."""

    def __init__(self, records: int, variants: int, done_before: int, log: Log) -> None:
        self._records, self._variants, self._before = records, variants, done_before
        self._log, self._logged = log, 0
        self._bar = _bar() if has_terminal() else None
        self._task = self._bar.add_task("starting engines", total=records) if self._bar else None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "ScoringProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, status: Status) -> None:
        """Show one state, and log what happened to engines since the last one."""
        self._tell(status.notes[self._logged :])
        # A record counts in parts: one for each variant that has answered.
        done = min(self._before + status.answers // self._variants, self._records)
        stage = "scoring" if status.starts_s else "starting engines"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, description=stage)
            return
        now = time.monotonic()
        if now - self._last_line < _LINE_EVERY_S:
            return
        self._last_line = now
        seconds = now - self._started
        if not status.starts_s:
            logger.info(f"  starting engines, {seconds:.0f} s")
            return
        logger.info(f"  scored {done:,} of {self._records:,} records, {seconds:.0f} s")

    def _tell(self, notes: Sequence[EngineEvent]) -> None:
        for note in notes:
            self._log(EngineLogged(event=f"engine_{note.kind}", **asdict(note)))
            self._logged += 1
            if note.kind in _WORDS:
                logger.warning(f"  {note.replica}: {_WORDS[note.kind]} ({note.cause})")
            elif note.kind == EventKind.SHORT:
                logger.warning(f"  {note.cause}")


def _bar() -> Progress:
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} records"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(),
    )
