"""What intervals and tests of `medsent.metrics.statistics` do on samples of a known population."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from medsent.config.labels import LABELS
from medsent.metrics.statistics.changes import SUPPORTED, Change, label_changes, overall_changes
from medsent.metrics.statistics.estimates import (
    Bounds,
    label_bounds,
    opinions_with,
    overall_bounds,
    supported,
    supported_macro,
)
from medsent.metrics.statistics.intervals import mcnemar
from medsent.metrics.statistics.metrics import Cells
from medsent.reducer.pairs import Pair
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction, Scope, reduce_batches
from tests.validation.multilevel import Multilevel
from tests.validation.population import VARIANTS, Floats, Population, f1
from tests.validation.tally import Tallies, Tally, merge, tallies

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


@dataclass(frozen=True)
class Size:
    """Of a sample."""

    opinions: int
    readers: int
    """Records an opinion; 0 for as many as the population has."""
    replicates: int = 1000

    def __str__(self) -> str:
        return f"{self.opinions:,} x {self.readers or 'any'}"


@dataclass
class Study:
    """Tallies by figure, over any number of samples."""

    coverage: Tallies = field(default_factory=tallies)
    """Intervals that hold the truth."""
    rejected: Tallies = field(default_factory=tallies)
    """Tests with p below 0.05."""
    shown: Tallies = field(default_factory=tallies)
    """Figures that got an interval."""
    contradicted: Tallies = field(default_factory=tallies)
    """Intervals that hold zero where the test finds a difference, or the other way round."""
    by_size: Tallies = field(default_factory=tallies)
    """`coverage` and `rejected` again, by figure and size: `figure @ size`."""

    def merge(self, other: "Study") -> None:
        """Add another study's tallies."""
        for name in ("coverage", "rejected", "shown", "contradicted", "by_size"):
            merge(getattr(self, name), getattr(other, name))

    def sizes(self, name: str) -> dict[str, Tally]:
        """Return a figure's tallies by size."""
        start = f"{name} @ "
        return {k.removeprefix(start): t for k, t in self.by_size.items() if k.startswith(start)}

    def look(self, population: Population | Multilevel, size: Size, seed: int) -> None:
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
        for found in (self.coverage, self.rejected):
            for name, tally in found.items():
                tally.close()
                self.by_size[f"{name} @ {size}"].merge(tally)
        for tally in (*self.shown.values(), *self.contradicted.values()):
            tally.close()

    def _figures(self, state: Reduction, population: Population | Multilevel) -> None:
        for v, name in enumerate(VARIANTS):
            counts, drawn = state.slices[ALL][name], state.resamples[ALL][name]
            tp, fp, fn = (share[v] for share in population.shares)
            opinions = opinions_with(drawn.positives)
            truths = {
                "f1": f1(tp, fp, fn),
                "precision": tp / (tp + fp),
                "recall": tp / (tp + fn),
                "accuracy": 1 - (fp + fn) / population.known,
            }
            for figure, bounds in label_bounds(counts, drawn).items():
                if figure in truths:
                    for each, truth, number in zip(bounds, truths[figure], opinions, strict=True):
                        self._cover(f"{figure}, {_group(number, each)}", each, float(truth))
            truth = averages(tp, fp, fn, population.known) | population.by_record[v]
            for average, bounds in overall_bounds(counts, drawn).items():
                if average in truth:
                    self._cover(f"average {average}{_rough(bounds)}", bounds, truth[average])
            kept, _, bounds_ = supported_macro(counts, drawn)
            name = f"average macro_f1_supported{_rough(bounds_)}"
            self._cover(name, bounds_, _mean(f1(tp, fp, fn)[kept]))

    def _differences(self, state: Reduction, population: Population | Multilevel) -> None:
        pair = state.pairs[ALL][VARIANTS]
        assert pair.resampled is not None
        base, new = f1(*population.shares)
        truth = new - base
        opinions = opinions_with(pair.resampled[0].positives)
        drawn = _drawn_differences(pair)
        changes = label_changes(pair)
        corrected = [change.p_corrected for change in changes if change.p_corrected is not None]
        if corrected:
            self.rejected["F1 of any label, corrected"].add(min(corrected) < SIGNIFICANT)
        for i, change in enumerate(changes):
            group = _group(opinions[i], change.difference)
            self._cover(f"difference of F1, {group}", change.difference, float(truth[i]))
            self._relative(f"relative improvement of F1, {group}", change, truth[i] / base[i])
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
        relative = _mean(truth[kept]) / _mean(base[kept])
        self._relative(f"relative improvement of macro F1{rough}", overall[SUPPORTED], relative)
        old_truth, new_truth = (
            averages(*(share[v] for share in population.shares), population.known)
            | population.by_record[v]
            for v in range(2)
        )
        for name in _DIFFERENCES:
            found = overall[name].difference
            gain = new_truth[name] - old_truth[name]
            self._cover(f"difference of {name}{_rough(found)}", found, gain)

    def _cover(self, name: str, bounds: Bounds, truth: float) -> None:
        self.shown[name.partition(",")[0]].add(bounds.low is not None)
        if bounds.low is not None and bounds.high is not None:
            self.coverage[name].add(bounds.low <= truth <= bounds.high)

    def _relative(self, name: str, change: Change, truth: float) -> None:
        self._cover(name, change.relative, truth)
        for bounds, kind in (
            (change.relative, "relative improvement"),
            (change.difference, "difference"),
        ):
            if change.p is not None and bounds.low is not None and bounds.high is not None:
                holds_zero = bounds.low <= 0 <= bounds.high
                self.contradicted[kind].add(holds_zero == (change.p < SIGNIFICANT))

    def _test(self, name: str, change: Change) -> None:
        if change.p is not None:
            self.rejected[name].add(change.p < SIGNIFICANT)


def averages(tp: Floats, fp: Floats, fn: Floats, known: Floats) -> dict[str, float]:
    """Return the true averages over labels and cells, from the shares of each label."""
    wrong = fp + fn
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
        "accuracy": _mean(1 - wrong / known),
        "hamming_accuracy": float(1 - wrong.sum() / known.sum()),
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
