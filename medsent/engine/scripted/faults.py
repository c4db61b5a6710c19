"""How a scripted engine is made to fail: for tests alone, and so no setting of a job.

The variable `MEDSENT_SCRIPTED_FAULTS` of the engine's process holds `Faults` as JSON, such as
`{"deadly_token": 666}`. It is there where the actor that starts the engine has it: by its node's
environment, or by a runtime environment of Ray.
"""

import json
import os
from dataclasses import asdict, dataclass
from typing import Final

FAULTS: Final = "MEDSENT_SCRIPTED_FAULTS"


@dataclass(frozen=True)
class Faults:
    """What makes the process end, or answer no more."""

    deadly_token: int | None = None
    """A prompt that holds this token kills the process."""
    hanging_token: int | None = None
    """A prompt that holds this token is never answered, nor is any after it."""
    memory_for: int | None = None
    """With more sequences at a time than this the process dies of a lack of memory."""

    @classmethod
    def of_this_process(cls) -> "Faults":
        """Read the variable; none where it is not set."""
        return cls(**json.loads(os.environ.get(FAULTS, "{}")))

    def environment(self) -> dict[str, str]:
        """Return the variable for a process that is to have these faults."""
        return {FAULTS: json.dumps(asdict(self))}
