"""Finding the requests that kill engines, from what was in flight when an engine died.

A death costs every request in flight its answer, and one of them may be its cause. So
those that were in flight at two deaths are tried alone, one after the other: an engine
takes a minute to start and an answer alone less than a second, which makes this cheaper
than halving. One that was alone in flight at two deaths is the cause.

Nothing here knows of processes or of time. Requests are numbers, each its own.
"""

from collections import Counter
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

_SUSPECT_AFTER: Final = 2
"""Deaths in company after which a request is tried alone."""
_KILLER_AFTER: Final = 2
"""Deaths alone after which it is the cause: one can be a coincidence."""


class Verdict(Enum):
    """What to do with a request that is not in flight."""

    SEND = auto()
    """Send it beside any others; a suspect gets this only when its turn to be tried alone comes."""
    WAIT = auto()
    """Until the suspects before it are finished."""
    QUARANTINE = auto()
    """Never send it again: engines die of it."""


class KillerDetector:
    """Is told of deaths and of what finished, and says what becomes of each request."""

    def __init__(self) -> None:
        self._deaths: Counter[int] = Counter()
        """Deaths at which an engine was at work on a request."""
        self._alone: Counter[int] = Counter()
        """Those at which it was the only request in flight."""
        self._suspects: dict[int, None] = {}
        """In the order in which they are tried."""

    @property
    def tried_alone(self) -> int | None:
        """The request that is now in flight by itself or about to be; None without suspects."""
        return next(iter(self._suspects), None)

    def died(self, in_flight: Sequence[int], at_work: int) -> None:
        """Take note of an engine's death.

        `in_flight` are the requests that were sent to it and not answered, in the order they were
        sent. It was at work on the first `at_work` of them: the later ones had only been waiting.
        """
        for request in in_flight[:at_work]:
            self._deaths[request] += 1
            self._alone[request] += len(in_flight) == 1
            if self._deaths[request] >= _SUSPECT_AFTER:
                self._suspects[request] = None

    def finished(self, request: int) -> bool:
        """Forget a request that was answered or given up; return whether it was a suspect."""
        was_suspect = request in self._suspects
        for held in (self._deaths, self._alone, self._suspects):
            held.pop(request, None)
        return was_suspect

    def deaths(self, request: int) -> int:
        """Return how many engines died while they were at work on a request."""
        return self._deaths[request]

    def verdict(self, request: int) -> Verdict:
        """Return what to do with a request that is not in flight."""
        if self.tried_alone not in (None, request):
            return Verdict.WAIT
        killer = self._alone[request] >= _KILLER_AFTER
        return Verdict.QUARANTINE if killer else Verdict.SEND
