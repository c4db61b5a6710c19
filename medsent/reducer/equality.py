"""What states have in common: equality where they hold arrays, and merging by name."""

from dataclasses import fields
from typing import Any, Protocol, Self, TypeVar

import numpy as np


class _Mergeable(Protocol):
    def merge(self, other: Self, /) -> Self: ...


M = TypeVar("M", bound=_Mergeable)
K = TypeVar("K")


class ByFields:
    """A dataclass (`eq=False`) that equals another where all fields do, arrays by elements."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            _same(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)  # type: ignore[arg-type]
        )


def _same(mine: Any, theirs: Any) -> bool:
    return bool(np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs)


def put(parts: dict[K, M], name: K, part: M) -> None:
    """Merge a part into the one stored under its name; store it if there is none."""
    parts[name] = parts[name].merge(part) if name in parts else part
