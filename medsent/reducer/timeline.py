"""When one replica's records came back, bin by bin of time, and whose each bin was."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.reducer.counts import Ints
from medsent.reducer.equality import ByFields

Seconds = npt.NDArray[np.float64]

BIN_US: Final = 65_536  # 66 ms: a batch of one variant takes longer, on a GPU too
MAX_BINS: Final = 32_768  # 36 busy minutes at the first width, 9.5 hours at a second; about 3 MB
TOKENS: Final = ("uncached", "cached", "output")
"""Kinds of tokens: of prompts, computed or from the prefix cache, and generated."""


@dataclass(eq=False)
class Timeline(ByFields):
    """Records that finished in each non-empty bin of time; all times in whole microseconds.

    A bin is `BIN_US` wide until there are more than `MAX_BINS`, then twice that, and so on:
    the least width under which the bins fit, which no order of adding or merging changes
    (bins only become fewer as the width doubles, and a part never has more than the whole).
    """

    width_us: int
    bins: Ints
    """(K,), rising: time since 1970 over the width."""
    finished: Ints
    """(K, V): records of each variant that finished in the bin."""
    tokens: Ints
    """(K, V, 3): the tokens of these records, by `TOKENS`."""
    start_us: Ints
    """(K,): when the earliest of them was sent."""
    last_us: int
    """When the last record of all finished."""

    @classmethod
    def of(
        cls, start_us: Ints, finish_us: Ints, tokens: Ints, variant: int, variants: int
    ) -> "Timeline":
        """Return the timeline of a variant's N >= 1 records, given when each was sent and done.

        `tokens` is (N, 3), by `TOKENS`.
        """
        finished = np.zeros((len(finish_us), variants), dtype=np.int64)
        finished[:, variant] = 1
        all_tokens = np.zeros((len(finish_us), variants, len(TOKENS)), dtype=np.int64)
        all_tokens[:, variant] = tokens
        bins, last_us = finish_us // BIN_US, int(finish_us.max())
        return _fit(BIN_US, bins, finished, all_tokens, start_us, last_us)

    def merge(self, other: "Timeline") -> "Timeline":
        """Return the timeline of the records of both."""
        width = max(self.width_us, other.width_us)
        bins = [part.bins // (width // part.width_us) for part in (self, other)]
        return _fit(
            width,
            np.concatenate(bins),
            np.concatenate([self.finished, other.finished]),
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.start_us, other.start_us]),
            max(self.last_us, other.last_us),
        )

    def busy_s(self) -> tuple[Seconds, Seconds]:
        """Return (V,) seconds due to each variant, and (V,) how many of them are shared.

        The time since the end of the previous non-empty bin goes to the variants that
        finished in this one, in proportion to their records; it is shared where they are
        more than one. Where most is shared, the variants' speeds cannot be told apart.

        Time before the earliest start of all records still to finish is left out, since
        nothing was in flight: a pause before a run is resumed costs no variant anything.
        The last bin ends with the last record. Without pauses, the sum over the variants is
        the time from the first start to the last finish; a pause is exact to one bin.
        """
        due = self._due(self.finished)
        return due.sum(axis=0), due[self.mixed].sum(axis=0)

    def busy_by_tokens_s(self) -> Seconds:
        """Return (K, V) seconds due to each variant in each bin, by the tokens computed.

        As `busy_s`, but a bin in which several variants finished goes to them in proportion to
        the tokens that the engine computed for these records, of prompts and generated: one that
        writes a long answer beside one that writes a word takes more of the engine.
        """
        computed = np.maximum(self.tokens[:, :, [0, 2]].sum(axis=2), 0)
        known = computed.any(axis=1, keepdims=True)
        return self._due(np.where(known, computed, self.finished))

    @property
    def mixed(self) -> npt.NDArray[np.bool_]:
        """(K,): the bins in which several variants finished."""
        several: npt.NDArray[np.bool_] = (self.finished > 0).sum(axis=1) > 1
        return several

    def _due(self, weights: Ints) -> Seconds:
        """Return (K, V): each bin's busy seconds, divided by weights (K, V)."""
        ends = np.minimum((self.bins + 1) * self.width_us, self.last_us)
        waiting_since = np.minimum.accumulate(self.start_us[::-1])[::-1]
        begins = np.maximum(waiting_since, np.concatenate([waiting_since[:1], ends[:-1]]))
        busy = np.maximum(ends - begins, 0) / 1e6
        due: Seconds = busy[:, None] * weights / weights.sum(axis=1, keepdims=True)
        return due


def _fit(
    width_us: int, bins: Ints, finished: Ints, tokens: Ints, start_us: Ints, last_us: int
) -> Timeline:
    """Add up equal bins, then double the width until `MAX_BINS` hold them."""
    while True:
        order = np.argsort(bins, kind="stable")
        bins, start_us = bins[order], start_us[order]
        finished, tokens = finished[order], tokens[order]
        first = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        bins = bins[first]
        finished = np.add.reduceat(finished, first, axis=0)
        tokens = np.add.reduceat(tokens, first, axis=0)
        start_us = np.minimum.reduceat(start_us, first)
        if len(bins) <= MAX_BINS:
            return Timeline(width_us, bins, finished, tokens, start_us, last_us)
        width_us, bins = width_us * 2, bins // 2
