"""Equality of states that hold arrays."""

from dataclasses import fields
from typing import Any

import numpy as np


class ByFields:
    """A dataclass (`eq=False`) that equals another where all fields do, arrays by elements."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            _same(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)  # type: ignore[arg-type]
        )


def _same(mine: Any, theirs: Any) -> bool:
    return bool(np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs)
