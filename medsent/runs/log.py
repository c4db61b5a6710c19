"""The lines of a run's `log.jsonl`: what happened, and when."""

import json
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError

from medsent.engine.events import EventKind
from medsent.runs.files import Written
from medsent.runs.manifest import Timed


class Logged(Written):
    """One line; `event` tells of which kind."""

    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    def to_line(self) -> str:
        """Return the text to write, without what is None."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def of(cls, line: str) -> Self | None:
        """Read a line; None where it is of another kind, or a kill has cut it short.

        Raises `ValidationError` where it is of this kind and lacks a field, or has it in another
        form.
        """
        try:
            values = json.loads(line)
        except ValueError:
            return None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            if any(problem["loc"] in ((), ("event",)) for problem in error.errors()):
                return None
            raise


class Started(Logged):
    """A session begins."""

    event: Literal["start"] = "start"
    done: int
    """Records that were done before."""
    versions: dict[str, str]
    """Package to its version, of those that decide a prediction."""
    recipe: str | None = None
    """`Identity.recipe`; None in runs of before."""
    share: float | None = None
    """Of a route."""


class Power(Written):
    """What an engine's GPUs drew while it scored."""

    gpus: int
    """That the engine has."""
    seconds: float
    """From its first block to its last one."""
    joules: float | None = None
    """Of all its GPUs together; None where the energy was not measured."""


class Scored(Timed, Logged):
    """A session has come to its end."""

    event: Literal["scored"] = "scored"
    records: int
    power: dict[str, Power] = Field({}, exclude_if=lambda power: not power)
    """By replica; empty in runs of before."""


class Dropped(Logged):
    """The predictions are kept no more."""

    event: Literal["predictions_dropped"] = "predictions_dropped"


class EngineLogged(Logged):
    """Something happened to an engine."""

    event: Annotated[str, Field(pattern=f"^engine_({'|'.join(EventKind)})$")]
    """`engine_`, then the kind."""
    replica: str
    kind: EventKind
    seconds: float
    cause: str
