"""The files of a run's folder: each a model, all of them read in one way."""

import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from medsent.errors import RunError
from medsent.storage.paths import AnyPath

M = TypeVar("M", bound=BaseModel)


class Written(BaseModel):
    """What stands in a file, or in a part of one; what a newer version adds is passed over."""

    model_config = ConfigDict(frozen=True)

    def to_json(self) -> str:
        """Return the text to write."""
        # Not by pydantic's own JSON: a path may hold bytes that are no UTF-8, as lone surrogates.
        return json.dumps(self.model_dump(mode="json"), indent=1)


def read_file(file: AnyPath, model: type[M], remedy: str) -> M | None:
    """Read a file as its model; None where it is not there.

    Raises `RunError` with the remedy where it is damaged.
    """
    try:
        return model.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunError(f"{file} is damaged; {remedy}") from error
