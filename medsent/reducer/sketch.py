"""How many opinions there are of a kind, exact up to 64, in a state that does not grow."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from medsent.reducer.counts import Ints
from medsent.reducer.equality import ByFields
from medsent.reducer.weights import Keys

KEPT: Final = 64


@dataclass(eq=False)
class Sketch(ByFields):
    """The opinions of the 64 smallest hashes, with their records (a bottom-k sketch).

    An opinion among the 64 smallest of all is among them in every part that holds it, so
    its records add up exactly, however they were split.
    """

    keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    """(at most 64,) ascending."""
    records: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each of these opinions."""

    @classmethod
    def of(cls, keys: Keys, records: Ints) -> "Sketch":
        """Sketch opinions of which each stands once, in ascending order of their keys."""
        return cls(keys[:KEPT], records[:KEPT])

    def __len__(self) -> int:
        """Return the number of opinions; 64 stands for 64 or more."""
        return len(self.keys)

    def merge(self, other: "Sketch") -> "Sketch":
        """Return the sketch of the records of both."""
        keys, place = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        records = np.zeros(len(keys), dtype=np.int64)
        np.add.at(records, place, np.concatenate([self.records, other.records]))
        return Sketch.of(keys, records)
