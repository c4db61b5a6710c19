"""How far a run's labels and input have moved from a reference run's, from predictions alone.

Rates are compared by the report's bootstrap, in which an opinion weighs the same in both runs:
opinions that both hold are thereby paired, and others are not. Shares of a population are
compared by the population stability index (PSI), the symmetric form of the Kullback-Leibler
divergence: the sum over categories of (p - q) ln(p / q).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy import stats

from medsent import predictions
from medsent.config.loader import Settings
from medsent.metrics.cuts import cuts_in_use
from medsent.metrics.estimate import Figure, Part
from medsent.metrics.format import percent, points
from medsent.metrics.statistics.estimates import FEW_OPINIONS
from medsent.metrics.statistics.intervals import ALPHA, clusters
from medsent.metrics.statistics.rates import Rates, rate_changes
from medsent.predictions import Outcome, Reason
from medsent.prompts.visible import as_name
from medsent.reducer.resamples import Clusters
from medsent.reducer.state import Scope, place_opinions
from medsent.reducer.weights import poisson_weights
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.runs.shared_labels import SharedLabels

Floats = npt.NDArray[np.float64]
Population: TypeAlias = Literal["prompt_tokens", "language", "persona"]

_REPLICATES: Final = 400
_BINS: Final = 10
"""Bins of prompt length: each holds about a tenth of the reference's records."""


class DriftSettings(Settings):
    """From how much drift on there is an alarm; null: never."""

    label_rate: float | None = Field(0.05, gt=0, le=1)
    """Alarm where the share of records that get a label changes by more than this, up or down, and
    the interval of the change, corrected over the labels, excludes 0."""
    population: float | None = Field(0.2, gt=0)
    """PSI of language, persona and length of prompts. Below 0.1 is commonly called stable, above
    0.25 another population; with few opinions chance alone may exceed that: this is no alarm."""
    quarantined: float | None = Field(0.02, gt=0, le=1)
    """Alarm where the share of records that are quarantined rises by more than this, and the
    interval of the rise lies above 0."""


class Drift(Part):
    """One thing that may drift, in the reference run and in this one."""

    kind: Literal["label_rate", "population", "quarantined"]
    """What is measured."""
    name: str
    """The label; `prompt_tokens`, `language` or `persona`; or `quarantined`."""
    variant: str | None
    """Whose labels or prompts; None for what is of the input alone."""
    value: float
    """Difference of the rates, this run less the reference; or the PSI."""
    low: Figure = None
    """Lower end of the difference's interval; None where too few opinions tell, and for a PSI."""
    high: Figure = None
    """Upper end."""
    chance: Figure = None
    """The PSI that any of the measured ones exceeds by chance in 1 of 20 comparisons, if both runs
    are samples of the same population."""
    limit: Figure
    """What the settings allow; None: anything."""
    alarm: bool
    """Whether it is beyond that, and by more than chance."""
    message: str
    """The same in a sentence."""

    @property
    def limit_message(self) -> str:
        """What is allowed, in a sentence."""
        if self.limit is None:
            return "there is no limit"
        if self.kind == "population":
            chance = "unknown" if self.chance is None else f"{self.chance:.2f}"
            return f"the limit is {self.limit:.2f}, and chance alone reaches {chance}"
        either = " either way" if self.kind == "label_rate" else ""
        return f"the limit is {points(self.limit)} points{either}"


def measure_drift(
    reference: RunFolder,
    run: RunFolder,
    variants: Sequence[str],
    settings: DriftSettings,
    names: Sequence[str] | None = None,
) -> list[Drift]:
    """Compare two runs that have all the variants; of `run` only the files `names`, if given.

    Returns for each variant the rate of each label that both runs have and the length of its
    prompts, then language, persona and the share quarantined. Raises `RunError` where they have
    no label in common.
    """
    labels = SharedLabels.of(reference, run).names
    before, now = Seen.read(reference, variants, labels), Seen.read(run, variants, labels, names)
    return drifts(before, now, variants, labels, settings)


def drifts(
    before: "Seen",
    now: "Seen",
    variants: Sequence[str],
    labels: Sequence[str],
    settings: DriftSettings,
) -> list[Drift]:
    """Compare what two runs hold of these labels."""
    rates = [
        drift
        for name in variants
        for drift in _label_rates(before, now, name, labels, len(variants), settings)
    ]
    populations: list[tuple[Population, str | None]] = [
        *(("prompt_tokens", name) for name in variants),
        ("language", None),
        ("persona", None),
    ]
    return [
        *rates,
        *(
            _population(before, now, *each, settings.population, len(populations))
            for each in populations
        ),
        _quarantined(before, now, settings.quarantined),
    ]


@dataclass
class Seen:
    """What a run's predictions hold, in a size that does not depend on their number."""

    sums: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    """Name to (1 + replicates, columns): the plain sums over records, then each replicate's."""
    counts: dict[tuple[Population, str | None], Counter[str | int]] = field(default_factory=dict)
    """Scored records by value."""

    @classmethod
    def read(
        cls,
        run: RunFolder,
        variants: Sequence[str],
        labels: Sequence[str],
        names: Sequence[str] | None = None,
    ) -> "Seen":
        """Read the predictions of `labels` in a run, or in its files `names`, by its thresholds."""
        settings, own = run.config().variants, predictions.labels_of(run.predictions)
        methods = {name: settings[name].method for name in variants}
        kept = cuts_in_use(run, methods)
        cuts = {name: values for name, values in kept.items() if values is not None}
        scope, seen = Scope.of(variants, own, thresholds=cuts), cls()
        places = [own.index(label) for label in labels]
        parts = ("status", "labels", "probabilities", "prompt_tokens")
        columns = ["opinion_id", "language", "persona", "outcome", "reason"]
        columns += [f"{name}.{part}" for name in variants for part in parts]
        files = (
            predictions.files(run.predictions)
            if names is None
            else [run.predictions / name for name in names]
        )
        gone = Erased.read(run)
        for batch in predictions.read(files, columns):
            erased = pc.or_(
                pc.fill_null(pc.equal(batch["reason"], Reason.ERASED), False),
                gone.matches(batch["opinion_id"]),
            )
            seen.add(batch.filter(pc.invert(erased)), scope, places)
        return seen

    def rates(self, part: str, whole: str) -> Rates:
        """Return how much of a sum over records another one is."""
        return Rates.of(self.sums[part], self.sums[whole][:, 0])

    def opinions(self, whole: str) -> float:
        """Return the effective number of opinions behind a sum; 0 where there are none."""
        return float(np.nan_to_num(clusters(self.sums[whole][1:, 0])))

    def add(self, batch: pa.RecordBatch, scope: Scope, places: Sequence[int]) -> None:
        """Count a batch's rows; `places` are those of the labels among the batch's own."""
        scored = np.asarray(pc.equal(batch["outcome"], Outcome.SCORED))
        values = {
            "rows": np.ones((len(scored), 1), dtype=np.int64),
            "scored": scored[:, None].astype(np.int64),
            "quarantined": np.asarray(pc.equal(batch["outcome"], Outcome.QUARANTINED))[:, None],
        }
        for name in scope.variants:
            answers = scope.answers(name, batch[name])
            usable = answers.answered & scored
            values[f"{name} answered"] = usable[:, None]
            values[f"{name} given"] = (answers.labels[:, places] == 1) & usable[:, None]
            tokens = pc.struct_field(batch[name], "prompt_tokens")
            self._count(("prompt_tokens", name), tokens.filter(pa.array(usable)).drop_null())
        for column in ("language", "persona"):
            self._count((column, None), batch[column].filter(pa.array(scored)))
        self._sum(batch["opinion_id"], values)

    def _count(self, key: tuple[Population, str | None], values: pa.Array) -> None:
        found = {each["values"]: each["counts"] for each in values.value_counts().to_pylist()}
        self.counts.setdefault(key, Counter()).update(
            {"none" if value is None else value: number for value, number in found.items()}
        )

    def _sum(self, ids: pa.Array, values: dict[str, npt.NDArray[np.integer]]) -> None:
        keys, opinions = place_opinions(ids)
        clustered = Clusters.gather(np.zeros_like(opinions), opinions, len(keys))
        weights = poisson_weights(keys, seed=0, replicates=_REPLICATES).astype(np.float64)
        weights = np.concatenate([np.ones((len(keys), 1)), weights], axis=1)
        for name, each in values.items():
            # Sums of integers far below 2^53: floats are exact, and multiply faster.
            summed = (weights.T @ clustered.sums(each.astype(np.int64))).astype(np.int64)
            self.sums[name] = self.sums.get(name, 0) + summed


def _label_rates(
    before: Seen,
    now: Seen,
    variant: str,
    labels: Sequence[str],
    variants: int,
    settings: DriftSettings,
) -> Iterator[Drift]:
    old, new = (seen.rates(f"{variant} given", f"{variant} answered") for seen in (before, now))
    value, low, high = rate_changes(old, new, len(labels) * variants)
    limit = settings.label_rate
    for index, label in enumerate(labels):
        if np.isnan(value[index]):
            continue
        ends = (float(low[index]), float(high[index]))
        beyond = limit is not None and abs(value[index]) > limit and (ends[0] > 0 or ends[1] < 0)
        yield Drift(
            kind="label_rate",
            name=label,
            variant=variant,
            value=float(value[index]),
            **_ends(*ends),
            limit=limit,
            alarm=bool(beyond),
            message=f"{label} given to {_change(old.values[index], new.values[index], *ends)}",
        )


def _quarantined(before: Seen, now: Seen, limit: float | None) -> Drift:
    old, new = (seen.rates("quarantined", "rows") for seen in (before, now))
    value, low, high = rate_changes(old, new, number=1)
    ends = (float(low[0]), float(high[0]))
    return Drift(
        kind="quarantined",
        name="quarantined",
        variant=None,
        value=float(value[0]),
        **_ends(*ends),
        limit=limit,
        alarm=bool(limit is not None and value[0] > limit and ends[0] > 0),
        message=f"quarantined {_change(old.values[0], new.values[0], *ends)}",
    )


def _population(
    before: Seen,
    now: Seen,
    kind: Population,
    variant: str | None,
    limit: float | None,
    number: int,
) -> Drift:
    old, new = before.counts[kind, variant], now.counts[kind, variant]
    if kind == "prompt_tokens":
        old, new = _binned(old, new)
    names = sorted(old.keys() | new.keys(), key=str)
    counts = [np.array([each[name] for name in names], dtype=np.float64) for each in (old, new)]
    known = min(old.total(), new.total())
    opinions = [seen.opinions("scored") if known else 0.0 for seen in (before, now)]
    # Records of one opinion are not independent: counts are scaled to the number of opinions.
    value = stability_index(
        *(
            each * (own / each.sum() if own else 1)
            for each, own in zip(counts, opinions, strict=True)
        )
    )
    chance = _chance(len(names), opinions[0], opinions[1], number)
    shares = [each / max(each.sum(), 1.0) for each in counts]
    told = ""
    if value:
        moved = int(np.argmax(np.abs(shares[1] - shares[0])))
        name = str(names[moved]) if kind == "prompt_tokens" else as_name(str(names[moved]))
        told = f"; most: {name} {percent(shares[0][moved])} → {percent(shares[1][moved])}"
    return Drift(
        kind="population",
        name=kind,
        variant=variant,
        value=value,
        chance=chance,
        limit=limit,
        alarm=limit is not None and chance is not None and value > max(limit, chance),
        message=f"{kind}: stability index {value:.2f}{told}",
    )


def stability_index(before: Floats, now: Floats) -> float:
    """Return the PSI of two counts by category, (K,) each; half of one is added to each."""
    if len(before) < 2:
        return 0.0
    p, q = ((each + 0.5) / (each + 0.5).sum() for each in (before, now))
    return float(((p - q) * np.log(p / q)).sum())


def _chance(categories: int, before: float, now: float, number: int = 1) -> float | None:
    """Return the value that any of `number` PSIs exceeds by chance in 1 of 20 comparisons.

    Both samples are then of the same population. For small changes the PSI is Pearson's statistic
    of homogeneity times 1/n + 1/m, a factor that fixed limits ignore (Potgieter, van Zyl, Schutte
    and Lombard 2023). n and m are numbers of opinions, since the records of an opinion are not
    independent. None from too few opinions.
    """
    if min(before, now) < FEW_OPINIONS:
        return None
    if categories < 2:
        return 0.0
    return float(stats.chi2.isf(ALPHA / number, categories - 1) * (1 / before + 1 / now))


def _binned(
    old: Counter[str | int], new: Counter[str | int]
) -> tuple[Counter[str | int], Counter[str | int]]:
    """Gather lengths into tenths of the reference's; a bin's name is its range."""
    lengths = sorted(old, key=int)
    reached = np.cumsum([old[length] for length in lengths]) / max(old.total(), 1)
    tenths = np.searchsorted(reached, np.arange(1, _BINS) / _BINS).tolist()
    edges = sorted({int(lengths[place]) for place in tenths}) if lengths else []
    names = [
        f"{'' if first is None else f'over {first} '}{'' if last is None else f'to {last} '}tokens"
        for first, last in zip([None, *edges], [*edges, None], strict=True)
    ]

    def gathered(counts: Counter[str | int]) -> Counter[str | int]:
        found: Counter[str | int] = Counter()
        for length, number in counts.items():
            found[names[int(np.searchsorted(edges, int(length)))]] += number
        return found

    return gathered(old), gathered(new)


def _ends(low: float, high: float) -> dict[str, float | None]:
    return {} if np.isnan(low) or np.isnan(high) else {"low": low, "high": high}


def _change(before: float, now: float, low: float, high: float) -> str:
    between = (
        "too few opinions to tell"
        if np.isnan(low)
        else f"{points(now - before)} points, interval {points(low)} to {points(high)}"
    )
    return f"{percent(before)} → {percent(now)} of records ({between})"
