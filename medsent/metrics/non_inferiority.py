"""Whether a variant is as good as another, by a margin."""

from medsent.metrics.estimate import Figure


def non_inferior(low: Figure, high: Figure, margin: float) -> bool | None:
    """Return whether a candidate is worse than another by no more than a margin.

    `low` and `high` are the ends of the 95% interval of the candidate's figure less the other's,
    on the records that both answered. True where the whole interval lies above minus the margin,
    False where the whole of it lies below, None where it does neither or there is none.
    """
    if low is None or high is None:
        return None
    if low >= -margin:
        return True
    return False if high < -margin else None
