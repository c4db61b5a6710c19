"""How often each opinion counts in each bootstrap replicate: a function of the opinion alone.

The Poisson bootstrap (Chamandy, Muralidharan, Najmi and Naidu 2012, "Estimating uncertainty
for massive data streams") draws weights independently, so an opinion weighs the same
wherever its records are counted, and sums over replicates merge in any order.
"""

import hashlib
import math
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Weights = npt.NDArray[np.uint8]

_DRAWS_A_HASH: Final = 4  # of 16 bits each
_BLOCK: Final = 2048  # opinions at a time: indices take 8 bytes a weight
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)


def opinion_keys(opinion_ids: Iterable[str]) -> Keys:
    """Return a 64-bit hash of each opinion's id, (N,)."""
    digests = b"".join(
        hashlib.blake2b(name.encode(), digest_size=8).digest() for name in opinion_ids
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64, copy=False)


def poisson_weights(keys: Keys, seed: int, replicates: int) -> Weights:
    """Return (N, replicates) draws of Poisson(1), fixed by opinion, seed and replicate.

    A draw is looked up by 16 bits of splitmix64 (Steele, Lea and Flood 2014), so a
    probability is exact to 2^-17; the mean is 1 and the variance 1 within 2e-4.
    """
    start = _mixed(keys ^ _mixed(np.array([seed], dtype=np.uint64)))
    counters = np.arange(1, -(-replicates // _DRAWS_A_HASH) + 1, dtype=np.uint64) * _STEP
    weights = np.empty((len(keys), replicates), dtype=np.uint8)
    for first in range(0, len(keys), _BLOCK):
        drawn = _mixed(start[first : first + _BLOCK, None] + counters[None, :])
        bits = drawn.astype("<u8", copy=False).view("<u2")
        weights[first : first + _BLOCK] = _POISSON[bits[:, :replicates]]
    return weights


def _mixed(state: Keys) -> Keys:
    """The output function of splitmix64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


def _poisson_table() -> Weights:
    """Return the weight of each 16-bit number, in the shares of Poisson(1)."""
    shares = np.array([math.exp(-1) / math.factorial(weight) for weight in range(12)])
    ends = np.rint(np.cumsum(shares) * 2**16).astype(np.int64)
    return np.searchsorted(ends, np.arange(2**16), side="right").astype(np.uint8)


_POISSON: Final = _poisson_table()
