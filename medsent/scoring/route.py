"""A staged roll-out: which records the candidate of a route is asked about."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.config.job import RouteSettings
from medsent.reducer.weights import opinion_keys

_ALL = 2**64


def for_candidate(route: RouteSettings, opinion_ids: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which of N records are the candidate's, (N,).

    By a hash of the opinion's id: all records of an opinion go the same way in every job, and
    a larger share holds a smaller one.
    """
    encoded = pc.dictionary_encode(pc.fill_null(opinion_ids, "")).combine_chunks()
    taken = opinion_keys(encoded.dictionary.to_pylist()) < int(route.share * _ALL)
    found: npt.NDArray[np.bool_] = taken[np.asarray(encoded.indices)]
    return found
