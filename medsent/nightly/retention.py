"""What is kept of old nights: every report, and the predictions that are still compared with."""

from collections.abc import Sequence

from medsent.nightly.history import History, Night, last_good
from medsent.run import RunFolder


def retain(
    history: History, nights: Sequence[Night], keep: int, reference: RunFolder | None
) -> list[str]:
    """Remove the predictions of old nights; return the names of the runs that lost them.

    Kept are those of the last `keep` nights, of the reference, of the last good night, and of
    the good night before the last one: the last night can be judged again as it was.
    """
    kept = {night.run for night in nights[-keep:]}
    latest = nights[-1].night
    good = [last_good(nights, before) for before in (latest, latest.max)]
    kept |= {night.run for night in good if night is not None}
    removed = []
    for night in nights:
        run = history.run(night)
        pinned = reference is not None and run.path == reference.path
        if night.run not in kept and not pinned and run.holds_predictions():
            run.drop_predictions()
            removed.append(night.run)
    return removed
