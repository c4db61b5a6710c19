"""Runs changed at one place, and what the rules say of them."""

from typing import Any

from pydantic import BaseModel

from medsent.metrics.estimate import Estimate
from medsent.metrics.findings.catalogue import find
from medsent.metrics.model import Comparison, Finding, Metrics

PAIR = "comparisons/0"
HEADLINE = f"{PAIR}/overall/macro_f1_supported"
FINETUNED = "variants/finetuned"
BEFORE, AFTER = "baseline", "finetuned"


def put(part: Any, path: str, value: Any) -> Any:
    """Return a copy with another value at a path of names and indices."""
    head, _, rest = path.partition("/")
    if isinstance(part, BaseModel):
        inner = put(getattr(part, head), rest, value) if rest else value
        return part.model_copy(update={head: inner})
    if isinstance(part, dict):
        return {**part, head: put(part[head], rest, value) if rest else value}
    index = int(head)
    inner = put(part[index], rest, value) if rest else value
    return [*part[:index], inner, *part[index + 1 :]]


def puts(run: Metrics, **values: Any) -> Metrics:
    for path, value in values.items():
        run = put(run, path, value)
    return run


def said(run: Metrics, rule: str) -> list[Finding]:
    return [finding for finding in find(run) if finding.rule == rule]


def one(run: Metrics, rule: str) -> Finding:
    (finding,) = said(run, rule)
    return finding


def pair_of(run: Metrics) -> Comparison:
    return run.comparisons[0]


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)


def without_losses(run: Metrics) -> Metrics:
    return put(run, f"{PAIR}/labels/ironic/p_corrected", 0.5)


def value_of(run: Metrics, label: str) -> float:
    difference = pair_of(run).labels[label].difference
    assert difference is not None
    return difference.value
