"""What of a metrics.json is counted, and so is the same whatever version reads the run."""

import json
from typing import Any

_BY_STATISTICS = ("findings", "comparisons")
"""Made from intervals and tests, which a version may find by a better method."""


def numbers(metrics: str) -> str:
    """Return the figures of a metrics.json; of one with an interval the figure alone."""
    values = json.loads(metrics)
    for name in _BY_STATISTICS:
        del values[name]
    return json.dumps(_figures(values), indent=1)


def differences(metrics: str) -> list[tuple[str, str, Any]]:
    """Return the differences that a metrics.json compares, each with its place."""
    return [
        (pair["candidate"], name, _figures(change["difference"]))
        for pair in json.loads(metrics)["comparisons"]
        for group in ("overall", "labels")
        for name, change in pair[group].items()
    ]


def _figures(value: Any) -> Any:
    if isinstance(value, dict):
        if "value" in value and {"low", "high"} & set(value):
            return value["value"]
        return {name: _figures(each) for name, each in value.items()}
    return [_figures(each) for each in value] if isinstance(value, list) else value
