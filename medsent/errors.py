"""The errors a user can meet, each with its exit code.

Every message names the file, row or setting at fault and what to do about it,
and never quotes the text of an opinion.
"""

from typing import ClassVar


class MedsentError(Exception):
    """Base of all errors of this package; the command ends with `exit_code`."""

    exit_code: ClassVar[int] = 1


class UsageError(MedsentError):
    """Something the user gave cannot be used; nothing was scored."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, missing or wrong."""


class InputError(UsageError):
    """The input shards cannot be read as records."""


class ModelError(UsageError):
    """The model is missing, incomplete or not the one it claims to be."""


class AdapterError(UsageError):
    """An adapter is missing, does not fit the model, or changes nothing."""


class EngineError(MedsentError):
    """The engine could not answer a request."""


class EngineDiedError(EngineError):
    """The engine itself is gone; the run can be resumed."""


class RunError(MedsentError):
    """The run folder does not hold what it should."""
