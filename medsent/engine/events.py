"""What may happen to an engine, and to the actor that has it."""

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """The kinds of events; a newer version may know others."""

    START = "start"
    """Another engine has started."""
    DEATH = "death"
    HANG = "hang"
    OUT_OF_MEMORY = "out_of_memory"
    KILLER = "killer"
    """A record that kills engines was found."""
    RESTART = "restart"
    """The actor ended, and Ray made another."""
    GAVE_UP = "gave_up"
    """The actor's engines die again and again."""
    NO_START = "no_start"
    SHORT = "short"
    """The pool has fewer engines than its maximum, and does not grow."""


DEATHS = (EventKind.DEATH, EventKind.HANG, EventKind.OUT_OF_MEMORY)
"""The kinds that tell of an engine's end."""


@dataclass(frozen=True)
class Event:
    """Something that happened to an engine."""

    kind: EventKind
    seconds: float
    """How long a start took, or how long an engine that ended had lived; 0 for other events."""
    cause: str
    """As far as it is known; empty for a start."""
