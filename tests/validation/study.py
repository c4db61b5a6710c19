"""What intervals and tests of `medsent.metrics.statistics` do on samples of a known population."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from medsent.labels import LABELS
from medsent.metrics.statistics.changes import SUPPORTED, Change, label_changes, overall_changes
from medsent.metrics.statistics.estimates import (
    Bounds,
    label_bounds,
    opinions_with,
    overall_bounds,
    supported,
    supported_macro,
)
from medsent.metrics.statistics.intervals import Floats, mcnemar
from medsent.metrics.statistics.replicates import Cells
from medsent.reducer.pairs import Pair
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction, Scope, reduce_batches
from tests.validation.population import VARIANTS, Population, f1

SIGNIFICANT: Final = 0.05
_DIFFERENCES: Final = (
    "accuracy",
    "micro_f1",
    "weighted_f1",
    "samples_f1",
    "subset_accuracy",
    "macro_precision",
    "macro_recall",
)


@dataclass
class Tally:
    """How often something held; what is counted in one sample goes together."""

    held: int = 0
    of: int = 0
    moments: tuple[int, int, int] = (0, 0, 0)
    """Sums over closed samples of held^2, held x of and of^2."""

    @property
    def share(self) -> float:
        """In percent; NaN of none."""
        return 100 * self.held / self.of if self.of else float("nan")

    @property
    def error(self) -> float:
        """Monte Carlo standard error of that, in points, with samples as clusters.

        Labels and variants of a sample are not independent. The variance is a ratio's
        (Cochran 1977, Sampling Techniques, 6.4): the sum of (held - p of)^2 over (sum of)^2.
        """
        if not self.of:
            return float("nan")
        p, (hh, hn, nn) = self.held / self.of, self.moments
        return 100 * float(np.sqrt(max(hh - 2 * p * hn + p * p * nn, 0))) / self.of

    def add(self, held: bool) -> None:
        """Count once more."""
        self.held += held
        self.of += 1

    def close(self) -> None:
        """End a sample, of which all so far was counted."""
        self.moments = (self.held**2, self.held * self.of, self.of**2)

    def merge(self, other: "Tally") -> None:
        """Add a tally of other, closed samples."""
        self.held += other.held
        self.of += other.of
        mine, theirs = self.moments, other.moments
        self.moments = (mine[0] + theirs[0], mine[1] + theirs[1], mine[2] + theirs[2])


def _tallies() -> defaultdict[str, Tally]:
    return defaultdict(Tally)


@dataclass(frozen=True)
class Size:
    """Of a sample."""

    opinions: int
    readers: int
    replicates: int = 1000

    def __str__(self) -> str:
        return f"{self.opinions:,} x {self.readers}"


@dataclass
class Study:
    """Tallies by figure, over any number of samples."""

    coverage: defaultdict[str, Tally] = field(default_factory=_tallies)
    """Intervals that hold the truth."""
    rejected: defaultdict[str, Tally] = field(default_factory=_tallies)
    """Tests with p below 0.05."""
    shown: defaultdict[str, Tally] = field(default_factory=_tallies)
    """Figures that got an interval."""
    by_size: defaultdict[str, Tally] = field(default_factory=_tallies)
    """`coverage` and `rejected` again, by figure and size: `figure @ size`."""

    def merge(self, other: "Study") -> None:
        """Add another study's tallies."""
        for name in ("coverage", "rejected", "shown", "by_size"):
            mine = getattr(self, name)
            for key, tally in getattr(other, name).items():
                mine[key].merge(tally)

    def sizes(self, name: str) -> dict[str, Tally]:
        """Return a figure's tallies by size."""
        start = f"{name} @ "
        return {k.removeprefix(start): t for k, t in self.by_size.items() if k.startswith(start)}

    def look(self, population: Population, size: Size, seed: int) -> None:
        """Draw one sample, and count what is said of it."""
        rng = np.random.default_rng(
            [seed, size.opinions, size.readers, *population.scenario.encode()]
        )
        rows = population.sample(size.opinions, size.readers, rng)
        scope = Scope.of(VARIANTS, LABELS, pairs=[VARIANTS], replicates=size.replicates, seed=seed)
        state = reduce_batches([rows], scope)
        one = Study()
        one._figures(state, population)
        one._differences(state, population)
        one._close(size)
        self.merge(one)

    def _close(self, size: Size) -> None:
        for tallies in (self.coverage, self.rejected):
            for name, tally in tallies.items():
                tally.close()
                self.by_size[f"{name} @ {size}"].merge(tally)
        for tally in self.shown.values():
            tally.close()

    def _figures(self, state: Reduction, population: Population) -> None:
        for v, name in enumerate(VARIANTS):
            counts, drawn = state.slices[ALL][name], state.resamples[ALL][name]
            tp, fp, fn = (share[v] for share in population.shares)
            opinions = opinions_with(drawn.positives)
            truths = {
                "f1": f1(tp, fp, fn),
                "precision": tp / (tp + fp),
                "recall": tp / (tp + fn),
                "accuracy": 1 - fp - fn,
            }
            for figure, bounds in label_bounds(counts, drawn).items():
                if figure in truths:
                    for each, truth, number in zip(bounds, truths[figure], opinions, strict=True):
                        self._cover(f"{figure}, {_group(number, each)}", each, float(truth))
            truth = averages(tp, fp, fn) | population.by_record[v]
            for average, bounds in overall_bounds(counts, drawn).items():
                if average in truth:
                    self._cover(f"average {average}{_rough(bounds)}", bounds, truth[average])
            kept, _, bounds_ = supported_macro(counts, drawn)
            name = f"average macro_f1_supported{_rough(bounds_)}"
            self._cover(name, bounds_, _mean(f1(tp, fp, fn)[kept]))

    def _differences(self, state: Reduction, population: Population) -> None:
        pair = state.pairs[ALL][VARIANTS]
        assert pair.resampled is not None
        truth = f1(*population.shares)[1] - f1(*population.shares)[0]
        opinions = opinions_with(pair.resampled[0].positives)
        drawn = _drawn_differences(pair)
        for i, change in enumerate(label_changes(pair)):
            group = _group(opinions[i], change.difference)
            self._cover(f"difference of F1, {group}", change.difference, float(truth[i]))
            self._test(f"F1 of a label, {group}", change)
            if change.p is not None:
                # It tests who is right more often, which opposite biases change at equal F1.
                self.rejected[f"McNemar without clusters, {population.scenario}"].add(
                    mcnemar(pair.discordant[i]) < SIGNIFICANT
                )
                low, high = np.nanpercentile(drawn[:, i], [2.5, 97.5])
                self.rejected[f"percentile bootstrap, {group}"].add(not low <= 0 <= high)
        sides = tuple((state.slices[ALL][v], state.resamples[ALL][v]) for v in VARIANTS)
        overall = overall_changes(pair, (sides[0], sides[1]))
        kept = np.logical_and.reduce([supported(*side)["f1"] for side in sides])
        rough = _rough(overall[SUPPORTED].difference)
        self._cover(
            f"difference of macro_f1_supported{rough}",
            overall[SUPPORTED].difference,
            _mean(truth[kept]),
        )
        self._test(f"macro_f1_supported{rough}", overall[SUPPORTED])
        old, new = (
            averages(*(share[v] for share in population.shares)) | population.by_record[v]
            for v in range(2)
        )
        for name in _DIFFERENCES:
            found = overall[name].difference
            self._cover(f"difference of {name}{_rough(found)}", found, new[name] - old[name])

    def _cover(self, name: str, bounds: Bounds, truth: float) -> None:
        self.shown[name.partition(",")[0]].add(bounds.low is not None)
        if bounds.low is not None and bounds.high is not None:
            self.coverage[name].add(bounds.low <= truth <= bounds.high)

    def _test(self, name: str, change: Change) -> None:
        if change.p is not None:
            self.rejected[name].add(change.p < SIGNIFICANT)


def averages(tp: Floats, fp: Floats, fn: Floats) -> dict[str, float]:
    """Return the true averages over labels and cells, from the shares of each label."""
    given, gold = tp + fp, tp + fn
    return {
        "macro_f1": _mean(f1(tp, fp, fn)),
        "macro_precision": _mean(tp / given),
        "macro_recall": _mean(tp / gold),
        "micro_f1": float(f1(tp.sum(), fp.sum(), fn.sum())),
        "micro_precision": float(tp.sum() / given.sum()),
        "micro_recall": float(tp.sum() / gold.sum()),
        "weighted_f1": float(np.average(f1(tp, fp, fn), weights=gold)),
        "weighted_precision": float(np.average(tp / given, weights=gold)),
        "accuracy": _mean(1 - fp - fn),
        "hamming_accuracy": _mean(1 - fp - fn),
    }


def _drawn_differences(pair: Pair) -> Floats:
    assert pair.resampled is not None
    base, candidate = (Cells.drawn(side).value("f1") for side in pair.resampled)
    return candidate - base


def _rough(bounds: Bounds) -> str:
    return ", rough" if bounds.rough else ""


def _group(opinions: int, bounds: Bounds) -> str:
    if bounds.rough:
        return "rough, 10 to 14 opinions" if opinions < 15 else "rough, 15 opinions or more"
    return "20 to 49 opinions" if opinions < 50 else "50 opinions or more"


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
