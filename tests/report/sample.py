"""Runs to render: rows through the real reducer and builder, with names that attack the page."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from medsent.config.labels import LABELS
from medsent.config.price import PriceSettings
from medsent.metrics.build import build_metrics
from medsent.metrics.cheapest import with_costs
from medsent.metrics.cost import Rates, variant_cost
from medsent.metrics.model import Metrics, Run, Timing
from medsent.metrics.verdict import Margins
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, batch

PERSONAS = (
    "emergency_nurse", "surgeon", "family_doctor", "psychologist", "receptionist",
    "hospital_director", "medical_student", "pharmacist", "anxious_patient", "chronic_patient",
    "young_mother", "pensioner", "patient_advocate", "paramedic", "physiotherapist", "insurer",
)  # fmt: skip
PREVALENCE = np.array(
    [.38, .42, .22, .12, .10, .20, .14, .22, .12, .20, .08, .18, .10, .10, 0.0, .008, .40, .75,
     .20, .05, .06]
)  # fmt: skip
ATTACK = "<script>alert(1)</script>"
NOTE = "Synthetic data: opinions, readers and labels come from a generator."
PROVENANCE: dict[str, JsonValue] = {
    "model": {"source": "builtin:gemma-3-270m", "sha256": "6f0a" * 16},
    "adapters": {"finetuned": {"source": "adapters/demo", "sha256": "93bd" * 16}},
    "prompt_sha256": "07c1" * 16,
    "personas_sha256": "b5d2" * 16,
    "versions": {"vllm": "0.32.0", "torch": "2.13.0", "transformers": "5.19.0"},
    "commit": None,
    "input": [{"path": f"shard-{index:03d}.parquet", "size": 48_213} for index in range(24)],
}


def metrics(
    rows: int = 640,
    *,
    name: str = "demo",
    note: str | None = NOTE,
    personas: Sequence[str] = PERSONAS,
    reason: str = "empty_text",
    compare: Sequence[tuple[str, str]] = (("baseline", "finetuned"),),
    gold: bool = True,
    timed: bool = True,
    replicates: int = 200,
    labels: Sequence[str] = LABELS,
    price: PriceSettings | None = None,
    watts: float | None = None,
    margins: Margins | None = None,
) -> Metrics:
    """Return a run of `rows` records, a tenth of them quarantined, the same for the same call.

    `vulgar` has no positives, the baseline never gives `fear` and is always
    right about `ironic`; of other labels the same holds in these places.
    """
    rng = np.random.default_rng(7)
    prevalence = np.resize(PREVALENCE, len(labels))
    truth = (rng.random((rows, len(labels))) < prevalence).astype(np.int8)
    variants = {
        "baseline": _answers(rng, truth, right=0.30, usable=0.97, latency_s=4.0, timed=timed),
        "finetuned": _answers(rng, truth, right=0.72, usable=1.0, latency_s=6.5, timed=timed),
    }
    fear, ironic = (LABELS.index(name) % len(labels) for name in ("fear", "ironic"))
    variants["baseline"].labels[:, fear] = 0
    variants["baseline"].labels[:, ironic] = truth[:, ironic]
    quarantined = rng.random(rows) < 0.05
    columns = {
        "outcome": np.where(quarantined, "quarantined", "scored").tolist(),
        "reason": [
            None if not q else reason if i % 3 else "too_long" for i, q in enumerate(quarantined)
        ],
        "language": rng.choice(["pl", "en"], rows).tolist(),
        "opinion_id": [f"opinion-{i // len(personas)}" for i in range(rows)],
        "persona": [personas[i % len(personas)] for i in range(rows)],
    }
    known = truth if gold else np.full_like(truth, -1)
    cuts = dict.fromkeys(labels, 0.35)
    scope = Scope.of(
        list(variants),
        labels,
        ["language", "persona"],
        {"finetuned": cuts} if timed else {},
        pairs=compare,
        replicates=replicates,
    )
    state = reduce_batches([batch(known, variants, columns, labels)], scope)
    built = build_metrics(
        state,
        run=Run(name=name, fingerprint="3f9c2a71", note=note),
        timing=Timing(start_up_s=58.4, scoring_s=121.7, total_s=188.2) if timed else None,
        provenance=PROVENANCE,
        margins=margins,
    )
    if price is None:
        return built
    rates = Rates(price, None if watts is None else 1, watts)
    found = {name: variant_cost(state.throughput, name, rates) for name in variants}
    return with_costs(built, state, {n: c for n, c in found.items() if c is not None}, 0.02)


def _answers(
    rng: np.random.Generator,
    truth: npt.NDArray[np.int8],
    right: float,
    usable: float,
    latency_s: float,
    timed: bool,
) -> Answers:
    """Answer as gold does with probability `right`, else by a guess at the prevalence."""
    rows = len(truth)
    guess = rng.random(truth.shape) < np.resize(PREVALENCE, truth.shape[1])
    labels = np.where(rng.random(truth.shape) < right, truth, guess).astype(np.int8)
    ok = rng.random(rows) < usable
    finished = 1_795_000_000_000_000 + np.sort(rng.integers(0, 60_000_000, rows))
    latency = rng.gamma(4, latency_s / 4, rows)
    return Answers(
        labels=labels,
        statuses=np.where(ok, "ok", "invalid_answer").tolist(),
        probabilities=_probabilities(labels, truth),
        finished_at=finished.tolist() if timed else None,
        latency_s=latency.tolist() if timed else None,
        replicas=rng.choice(["replica-0", "replica-1"], rows).tolist(),
        prompt_tokens=rng.integers(120, 260, rows).tolist(),
        cached_tokens=rng.integers(60, 120, rows).tolist(),
        output_tokens=[1] * rows,
    )


def _probabilities(
    labels: npt.NDArray[np.int8], truth: npt.NDArray[np.int8]
) -> npt.NDArray[np.float32]:
    """Return probabilities of at least 0.36 where the label is given, more so where it is true."""
    rng = np.random.default_rng(11)
    likely = np.where(truth == 1, rng.beta(2.2, 1.3, truth.shape), rng.beta(1, 2.4, truth.shape))
    doubt = np.where(truth == 1, rng.beta(1.6, 1.2, truth.shape), rng.beta(0.8, 2.2, truth.shape))
    return np.where(labels == 1, 0.36 + 0.64 * likely, 0.34 * doubt).astype(np.float32)
