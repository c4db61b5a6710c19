"""Evidence for the gate's rules, of which a test changes just what it is about."""

from pathlib import Path
from typing import Any

from medsent.commands.drift import Drift
from medsent.commands.nightly.gate import Against
from medsent.commands.nightly.rules import Anchor, Evidence
from medsent.config.labels import LABELS
from medsent.metrics.estimate import Estimate
from medsent.metrics.model import Change, Comparison, Distribution, Metrics
from medsent.runs.folder import RunFolder
from tests.report.sample import metrics

VARIANT = "finetuned"
NIGHT = metrics(compare=(), replicates=100)
SAME = Change(
    baseline=0.8,
    candidate=0.8,
    difference=Estimate(value=0.0, no_interval="too_few_disagreements"),
    relative=None,
    kind="unchanged",
    simultaneous=Estimate(value=0.0, no_interval="too_few_disagreements"),
)


def change(value: float, low: float, high: float, **parts: Any) -> Change:
    """Return a change whose intervals are the same."""
    figure = Estimate(value=value, low=low, high=high)
    return Change(
        baseline=0.8, candidate=0.8 + value, difference=figure, relative=None, kind="worse",
        **{"simultaneous": figure, "one_sided": figure, **parts},
    )  # fmt: skip


def comparison(
    labels: dict[str, Change] | None = None, overall: dict[str, Change] | None = None
) -> Comparison:
    """Return a comparison in which nothing differs but what is given."""
    whole = dict.fromkeys(("macro_f1_supported", "generation_success_rate"), SAME)
    return Comparison(
        baseline=f"{VARIANT}@before",
        candidate=f"{VARIANT}@now",
        records=640,
        overall=whole | (overall or {}),
        labels=dict.fromkeys(LABELS, SAME) | (labels or {}),
        distribution=Distribution(
            over_50=0, from_10_to_50=0, from_0_to_10=0, unchanged=21, worse=0, from_zero=0,
            undefined=0,
        ),
        slices={},
    )  # fmt: skip


def evidence(
    night: Metrics = NIGHT,
    *,
    reference: Comparison | None = None,
    last_good: Comparison | None = None,
    before: Metrics = NIGHT,
    drifts: list[Drift] | None = None,
) -> Evidence:
    """Return evidence against two anchors in which nothing differs but what is given."""
    found = {"reference": reference or comparison(), "last_good": last_good or comparison()}
    anchors: dict[Against, Anchor] = {
        name: Anchor(RunFolder(Path("unread")), before, {VARIANT: each})
        for name, each in found.items()
    }
    return Evidence(night, [VARIANT], anchors, {}, drifts or [], "reference")


def without_anchors(night: Metrics = NIGHT) -> Evidence:
    """Return evidence of the very first night."""
    absent: dict[Against, str] = {
        "reference": "no reference is pinned",
        "last_good": "on no earlier night was the gate open",
    }
    return Evidence(night, [VARIANT], {}, absent, [], None)
