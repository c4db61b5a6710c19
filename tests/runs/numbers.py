"""What of a metrics.json is counted, and so is the same whatever version reads the run."""

import json
import math
from collections.abc import Iterator
from typing import Any

_BY_STATISTICS = ("findings", "comparisons")
"""Made from intervals and tests, which a version may find by a better method."""


def numbers(metrics: str) -> dict[str, Any]:
    """Return the figures of a metrics.json by their places, without their intervals."""
    values = json.loads(metrics)
    for name in _BY_STATISTICS:
        del values[name]
    return dict(_flat("", values))


def differences(metrics: str) -> dict[str, Any]:
    """Return the differences that a metrics.json compares, each by its place."""
    return {
        f"{index}.{pair['candidate']}.{group}.{name}{place}": figure
        for index, pair in enumerate(json.loads(metrics)["comparisons"])
        for group in ("overall", "labels")
        for name, change in pair[group].items()
        for place, figure in _flat("", change["difference"])
    }


def other(made: dict[str, Any], before: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the figures that are others than before, but for last bits, as processors differ."""
    pairs = {place: (made.get(place, "-"), before.get(place, "-")) for place in made | before}
    return {place: pair for place, pair in pairs.items() if not _same(*pair)}


def _same(made: Any, before: Any) -> bool:
    if isinstance(made, float) and isinstance(before, float):
        return math.isclose(made, before, rel_tol=1e-12, abs_tol=1e-15)
    return bool(made == before)


def _flat(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and "value" in value and {"low", "high"} & set(value):
        value = value["value"]
    if isinstance(value, dict | list) and value:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in inner:
            yield from _flat(f"{place}.{name}", each)
    else:
        yield place, str(value) if isinstance(value, dict | list) else value
