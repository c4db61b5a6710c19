"""What a scorer counts for Prometheus, by Ray's metrics endpoint; tags hold no text and no ids.

A call costs some four microseconds, so counting is done a block at a time.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter, Gauge

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
_LATENCIES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, np.inf)


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
        outcomes = block.group_by(["outcome", "reason"]).aggregate([([], "count_all")])
        for row in outcomes.to_pylist():
            reason = row["reason"] or "none"
            self._add("medsent_records", row["count_all"], outcome=row["outcome"], reason=reason)
        for variant in self._variants:
            self._answered(variant, block[variant].combine_chunks())

    def waiting(self, requests: int) -> None:
        """Set how many requests are in flight."""
        self._in_flight.set(requests)

    def died(self, kind: str) -> None:
        """Count an engine's end."""
        self._add("medsent_engine_deaths", 1, kind=kind)

    def _answered(self, variant: str, answers: pa.StructArray) -> None:
        """Count a variant's answers, null where it was not asked."""
        statuses = pc.value_counts(pc.struct_field(answers, "status").drop_null())
        for found in statuses.to_pylist():
            status = found["values"]
            self._add("medsent_answers", found["counts"], variant=variant, status=status)
        cached = _sum(answers, "cached_tokens")
        tokens = {
            "computed": _sum(answers, "prompt_tokens") - cached,
            "cached": cached,
            "output": _sum(answers, "output_tokens"),
        }
        for kind, count in tokens.items():
            self._add("medsent_tokens", count, variant=variant, kind=kind)
        took = np.asarray(pc.struct_field(answers, "latency_s").drop_null())
        for bound in _LATENCIES_S:
            within, le = int((took <= bound).sum()), f"{bound:g}".replace("inf", "+Inf")
            self._add("medsent_latency_seconds_bucket", within, variant=variant, le=le)

    def _add(self, counter: str, value: int, **tags: str) -> None:
        if value:  # Ray refuses to add nothing
            self._counters[counter].inc(value, tags)


def _sum(answers: pa.StructArray, field: str) -> int:
    return pc.sum(pc.struct_field(answers, field)).as_py() or 0
