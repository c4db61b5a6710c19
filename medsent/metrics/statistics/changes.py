"""A candidate's difference from a baseline: its interval, its test, and what it could show."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, TypeAlias

import numpy as np

from medsent.metrics.statistics.contrasts import Contrast
from medsent.metrics.statistics.disagreements import Disagreements, influence
from medsent.metrics.statistics.estimates import (
    FEW_OPINIONS,
    ROUGH_BELOW,
    Bounds,
    NoInterval,
    opinions_with,
    supported,
)
from medsent.metrics.statistics.intervals import NO_SPREAD, clusters, holm, mcnemar, spread
from medsent.metrics.statistics.metrics import RATES, Cells, overall_figures
from medsent.metrics.statistics.replicates import (
    SUCCESS,
    Bools,
    Drawn,
    effective_opinions,
    macro_replicates,
    overall_replicates,
    success_replicates,
)
from medsent.reducer.counts import Counts
from medsent.reducer.pairs import Pair
from medsent.reducer.resamples import Resamples
from medsent.reducer.sketch import Sketch

FEW_DISAGREEING: Final = 7
"""A difference needs so many opinions on which the two variants disagree."""

SUPPORTED: Final = "macro_f1_supported"

Side: TypeAlias = tuple[Counts, Resamples | None]
"""A variant's counts, and its replicates."""


@dataclass(frozen=True)
class Change:
    """A figure of both on the records that both answered, and what is known of its change."""

    baseline: float
    candidate: float
    difference: Bounds
    """Of candidate - baseline."""
    relative: Bounds
    """Of (candidate - baseline) / baseline; it holds 0 where that of the difference does."""
    p: float | None = None
    """Of the two-sided test that agrees with the interval."""
    p_corrected: float | None = None
    """Holm's, over the figures that stand beside it."""
    detectable: float | None = None
    """The smallest true difference that data like these show with 80% power."""
    detectable_range: tuple[float, float] | None = None
    """Where that lies, since it is estimated."""
    simultaneous: Bounds | None = None
    """Of candidate - baseline, for all the figures that stand beside it at once."""
    one_sided: Bounds | None = None
    """One-sided bounds of candidate - baseline, for all those figures at once. Where the two
    disagree on few opinions, the lower one is that of `Contrast.careful_low`."""
    detectable_one_sided: float | None = None
    """How far a true difference must be beyond a limit for a one-sided bound to show that with 80%
    power."""
    contrast: Contrast | None = None
    """What the replicates say of the two; None where there is no interval."""
    number: int = 1
    """The number of figures for which `simultaneous` and `one_sided` hold at once."""
    disagreements: Disagreements | None = None
    """What bounds the difference where the two disagree on too few opinions for an interval."""
    influence: float | None = None
    """By how much one opinion moves the figure; None where that is not known."""
    shares: tuple[float, ...] | None = None
    """For macro F1: each label's share of the variance of the difference."""

    @property
    def deciding(self) -> Bounds:
        """The ends by which it is judged whether the candidate is worse by more than a margin.

        For one of several labels they hold for all labels at once. Where the two disagree on few
        opinions, the lower end is that of `Contrast.careful_low`. Where they disagree on too few
        for an interval, the ends are how far apart the two can be.
        """
        bounds = self.simultaneous or self.difference
        if bounds.low is None and self.disagreements is not None:
            bound = self.disagreements.bound(self.number)
            return Bounds(-bound, bound)
        if self.contrast is None or self.influence is None:
            return bounds
        return replace(bounds, low=self.contrast.careful_low(self.influence, self.number))


def label_changes(pair: Pair) -> list[Change]:
    """Return the change of each label's F1; p-values are corrected over the labels."""
    base, candidate = (Cells.of(counts).value("f1") for counts in (pair.baseline, pair.candidate))
    if pair.resampled is None:
        return [_bare(*both, "no_replicates") for both in zip(base, candidate, strict=True)]
    cells = [Cells.drawn(side) for side in pair.resampled]
    number = effective_opinions(pair.resampled[0])
    drawn = [
        Drawn(each.value("f1"), each.ratio("f1")[1].astype(np.float64), number) for each in cells
    ]
    opinions = opinions_with(pair.resampled[0].positives)
    with_label, identical = clusters(drawn[0].wholes + drawn[1].wholes), not _any_disagreeing(pair)
    each = influence(base, with_label)
    return corrected(
        [
            _change(
                (base[i], candidate[i]),
                (drawn[0].of_term(i), drawn[1].of_term(i)),
                none=_too_few(opinions[i], pair.disagreeing[i]),
                rough=bool(opinions[i] < ROUGH_BELOW),
                few=Disagreements.about_label(
                    len(pair.disagreeing[i]), float(with_label[i]), float(base[i]), identical
                ),
                influence=float(each[i]),
            )
            for i in range(len(base))
        ]
    )


def overall_changes(pair: Pair, whole: tuple[Side, Side]) -> dict[str, Change]:
    """Return the change of each overall figure; p-values are not corrected.

    `whole` is each variant on all records, of which the generation success rate is made.
    A macro average over labels with too few opinions has no interval, and
    `macro_f1_supported` is over the others.
    """
    sides = (pair.baseline, pair.candidate)
    values = [
        overall_figures(side) | {SUCCESS: overall_figures(every)[SUCCESS], SUPPORTED: float("nan")}
        for side, (every, _) in zip(sides, whole, strict=True)
    ]

    def bare(none: NoInterval) -> dict[str, Change]:
        return {name: _bare(values[0][name], values[1][name], none) for name in values[0]}

    if pair.resampled is None or whole[0][1] is None or whole[1][1] is None:
        return bare("no_replicates")
    found = bare("not_estimated")
    kept = _kept(pair)
    base, candidate = (overall_replicates(side, kept) for side in pair.resampled)
    base[SUCCESS], candidate[SUCCESS] = (
        success_replicates(side) for side in (whole[0][1], whole[1][1])
    )
    few = _few_disagreeing(_any_disagreeing(pair))
    for name in base:
        none = _few_disagreeing(pair.one_sided) if name == SUCCESS else few
        both = (base[name], candidate[name])
        alike = _about_answers(pair.one_sided, both[0]) if name == SUCCESS else None
        found[name] = _change((values[0][name], values[1][name]), both, none, few=alike)
    points = [Cells.of(counts) for counts in sides]
    for rate in RATES:
        if any((~np.isnan(point.value(rate)) & ~kept[rate]).any() for point in points):
            name = f"macro_{rate}"
            found[name] = _bare(values[0][name], values[1][name], "too_few_opinions")
    found[SUPPORTED] = supported_change(pair)
    return found


def supported_labels(pair: Pair) -> list[int]:
    """Return the indices of the labels in `supported_change`; without replicates all labels."""
    if pair.resampled is None:
        return list(range(pair.baseline.labels))
    return [int(i) for i in np.flatnonzero(_kept(pair)["f1"])]


def supported_change(pair: Pair) -> Change:
    """Return the change of macro F1 over the labels with enough opinions.

    Without replicates these labels are not known, and it is the change over all labels.
    """
    sides = (pair.baseline, pair.candidate)
    if pair.resampled is None:
        old, new = (overall_figures(side)["macro_f1"] for side in sides)
        return _bare(old, new, "no_replicates")
    kept = _kept(pair)["f1"]
    base, candidate = (macro_replicates(side, "f1", kept) for side in pair.resampled)
    values = [_mean(Cells.of(side), kept) for side in sides]
    differing = _any_disagreeing(pair)
    f1 = Cells.of(pair.baseline).value("f1")[kept]
    with_label = clusters(base.wholes + candidate.wholes)
    found = _change(
        (values[0], values[1]),
        (base, candidate),
        _few_disagreeing(differing),
        few=Disagreements.about_any(len(differing), base.opinions, f1, with_label),
        influence=float(influence(f1, with_label).mean() / len(f1)) if len(f1) else None,
    )
    if found.contrast is None:
        return found
    return replace(found, shares=_shares(base, candidate, kept))


def corrected(changes: list[Change]) -> list[Change]:
    """Return the changes with p-values and intervals corrected for how many have one."""
    p_values = holm([np.nan if change.p is None else change.p for change in changes])
    tested = int((~np.isnan(p_values)).sum())
    # A figure without an interval has a bound, which is to hold together with the others'
    # intervals. It is corrected as an interval would be if every figure had one.
    numbers = [len(changes) if change.contrast is None else tested for change in changes]
    return [
        replace(
            _bounded(change, number),
            number=number,
            p_corrected=None if change.p is None else float(p),
            simultaneous=_simultaneous(change, number),
        )
        for change, p, number in zip(changes, p_values, numbers, strict=True)
    ]


def _simultaneous(change: Change, number: int, sides: int = 2) -> Bounds:
    if change.contrast is None:
        return change.difference
    return Bounds(*change.contrast.interval(number, sides), change.difference.rough)


def _bounded(change: Change, number: int) -> Change:
    """Return the change with bounds of one side, as one of so many."""
    found, bounds = change.contrast, _simultaneous(change, number, sides=1)
    if found is not None and change.influence is not None:
        bounds = replace(bounds, low=found.careful_low(change.influence, number, sides=1))
    return replace(
        change,
        one_sided=bounds,
        detectable_one_sided=None if found is None else found.detectable(number, sides=1),
    )


def mcnemar_p(pair: Pair) -> list[float] | None:
    """Return each label's exact p-value of McNemar's test on what is right.

    None unless each opinion has one record, since the test assumes independent records. Only the
    64 opinions in the sketch are checked for this.
    """
    if not len(pair.opinions) or (pair.opinions.records > 1).any():
        return None
    return [mcnemar(alone) for alone in pair.discordant]


def _about_answers(one_sided: Sketch, baseline: Drawn) -> Disagreements | None:
    """The opinions with a record that only one of the two answered; each counts as a whole."""
    seen = len(one_sided)
    if not baseline.opinions > seen:
        return None
    return Disagreements(seen, baseline.opinions, 1.0, not seen)


def _shares(base: Drawn, candidate: Drawn, kept: Bools) -> tuple[float, ...]:
    """Return each label's share of the variance of the mean over the kept labels; the sum is 1."""
    gaps = candidate.terms - base.terms
    gaps = np.nan_to_num(gaps - np.nanmean(gaps, axis=0))
    each = np.zeros(len(kept))
    each[kept] = (gaps * gaps.mean(axis=1, keepdims=True)).mean(axis=0)
    return tuple((each / each.sum()).tolist())


def _kept(pair: Pair) -> dict[str, Bools]:
    """The labels with enough opinions on both sides, for each of `RATES`."""
    assert pair.resampled is not None
    base = supported(pair.baseline, pair.resampled[0])
    candidate = supported(pair.candidate, pair.resampled[1])
    return {rate: base[rate] & candidate[rate] for rate in RATES}


def _mean(point: Cells, kept: Bools) -> float:
    return float(point.value("f1")[kept].mean()) if kept.any() else float("nan")


def _too_few(opinions: int, disagreeing: Sketch) -> NoInterval | None:
    return "too_few_opinions" if opinions < FEW_OPINIONS else _few_disagreeing(disagreeing)


def _any_disagreeing(pair: Pair) -> Sketch:
    """The opinions on which the two disagree about any label."""
    return reduce(Sketch.merge, pair.disagreeing)


def _few_disagreeing(opinions: Sketch) -> NoInterval | None:
    return "too_few_disagreements" if len(opinions) < FEW_DISAGREEING else None


def _change(
    values: tuple[float, float],
    drawn: tuple[Drawn, Drawn],
    none: NoInterval | None = None,
    rough: bool = False,
    few: Disagreements | None = None,
    influence: float | None = None,
) -> Change:
    base, candidate = values
    between = drawn[1].minus(drawn[0])
    df = between.df
    if np.isnan(base) or np.isnan(candidate):
        none = "undefined"
    elif not none and not df >= FEW_OPINIONS - 1:
        none = "too_few_opinions"
    if not none and not spread(between.values, df).se > NO_SPREAD:
        none = "no_variation" if candidate != base else "too_few_disagreements"
    if none:
        bare = _bare(base, candidate, none)
        return replace(bare, disagreements=few) if none == "too_few_disagreements" else bare
    found = Contrast.of(values, drawn)
    rough = rough or bool(df + 1 < ROUGH_BELOW)
    change = Change(
        base,
        candidate,
        Bounds(*found.interval(), rough),
        _relative(found, rough),
        p=found.p,
        detectable=found.detectable(),
        detectable_range=found.detectable_range(),
        contrast=found,
        influence=influence,
    )
    return _bounded(change, 1)


def _relative(found: Contrast, rough: bool) -> Bounds:
    ends = found.relative()
    return Bounds(none="from_zero") if ends is None else Bounds(*ends, rough)


def _bare(base: float, candidate: float, none: NoInterval) -> Change:
    return Change(float(base), float(candidate), Bounds(none=none), Bounds(none=none))
