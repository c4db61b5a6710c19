"""What a scorer counts for Prometheus, by Ray's metrics endpoint; tags hold no text and no ids.

A call costs some four microseconds, so counting is done a block at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter, Gauge

from medsent.predictions import Outcome

COUNTERS = {
    "medsent_records": ("Records with an outcome; a reason is a quarantine's.", "outcome reason"),
    "medsent_answers": ("Answers, usable or not.", "variant status"),
    "medsent_tokens": ("Tokens of prompts, computed or cached, and of output.", "variant kind"),
    # Ray's own histogram takes a call an answer.
    "medsent_latency_seconds_bucket": ("Answers that took `le` seconds or less.", "variant le"),
    "medsent_engine_deaths": ("Engines that ended.", "kind"),
}
"""Name, to which Ray adds `ray_` before and `_total` behind; what is counted; tags."""
IN_FLIGHT = "medsent_in_flight"
"""The only gauge: requests sent and not answered. Ray adds `ray_` before it."""

_JOB = "job_name"  # `job` is Prometheus' own
_BOUNDS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, np.inf)


class Telemetry:
    """The metrics of one scorer."""

    def __init__(self, job_name: str, variants: Sequence[str]) -> None:
        self._variants = variants
        default = {_JOB: job_name}
        self._counters = {
            name: Counter(name, text, (_JOB, *tags.split())).set_default_tags(default)
            for name, (text, tags) in COUNTERS.items()
        }
        self._in_flight = Gauge(IN_FLIGHT, "Requests sent and not answered.", (_JOB,))
        self._in_flight.set_default_tags(default)

    def scored(self, block: pa.Table) -> None:
        """Count a block of finished predictions."""
        for reason, count in _counts(block["reason"]):
            outcome = Outcome.SCORED if reason is None else Outcome.QUARANTINED
            self._add("medsent_records", count, outcome=outcome, reason=reason or "none")
        for variant in self._variants:
            self._answered(variant, block[variant])

    def waiting(self, requests: int) -> None:
        """Set how many requests are in flight."""
        self._in_flight.set(requests)

    def died(self, kind: str) -> None:
        """Count an engine's end."""
        self._add("medsent_engine_deaths", 1, kind=kind)

    def _answered(self, variant: str, answers: pa.ChunkedArray) -> None:
        """Count a variant's answers, null where it was not asked."""
        of = dict(zip([field.name for field in answers.type], answers.flatten(), strict=True))
        for status, count in _counts(of["status"].drop_null()):
            self._add("medsent_answers", count, variant=variant, status=status)
        cached = _sum(of["cached_tokens"])
        computed, output = _sum(of["prompt_tokens"]) - cached, _sum(of["output_tokens"])
        for kind, count in (("computed", computed), ("cached", cached), ("output", output)):
            self._add("medsent_tokens", count, variant=variant, kind=kind)
        took = np.sort(of["latency_s"].drop_null())
        for bound, count in zip(_BOUNDS_S, np.searchsorted(took, _BOUNDS_S, "right"), strict=True):
            le = f"{bound:g}".replace("inf", "+Inf")
            self._add("medsent_latency_seconds_bucket", int(count), variant=variant, le=le)

    def _add(self, counter: str, value: int, **tags: str) -> None:
        if value:  # Ray refuses to add nothing
            self._counters[counter].inc(value, tags)


def _counts(values: pa.ChunkedArray) -> list[tuple[Any, int]]:
    """Return each distinct value, null included, and how often it occurs."""
    return [(found["values"], found["counts"]) for found in values.value_counts().to_pylist()]


def _sum(values: pa.ChunkedArray) -> int:
    total: int | None = pc.sum(values).as_py()
    return total or 0
