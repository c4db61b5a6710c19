"""What is kept of old nights: every report, and the predictions that are still compared with."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date

from medsent.commands.nightly.history import History, Night, last_good
from medsent.errors import LeaseError
from medsent.runs.folder import RunFolder
from medsent.storage.lease import Lease
from medsent.storage.paths import AnyPath, located


def retain(
    history: History, nights: Sequence[Night], keep: int, reference: RunFolder | None
) -> list[str]:
    """Remove the predictions of old nights; return the names of the runs that lost them.

    Kept are those of the last `keep` nights and of all that these were compared with, so that
    each can be judged again as it was; of the reference; and of the last good night. Nights
    that failed, or were replaced in the history by another run, go as the others do. Raises
    `OSError` where the storage refuses.
    """
    latest = nights[-keep:]
    kept = {night.run for night in latest} | {night.last_good for night in latest}
    kept |= {good.run for good in [last_good(nights, date.max)] if good}
    pinned = {night.reference for night in latest} | {reference and str(reference.path)}
    removed = []
    for run in _before(history, latest[0].night):
        if run.path.name in kept or str(run.path) in pinned or not run.holds_predictions():
            continue
        with suppress(LeaseError), Lease(*located(run.path / "lease")):
            run.drop_predictions()  # unless a job works on an old night just now
            removed.append(run.path.name)
    return removed


def _before(history: History, first: date) -> Iterator[RunFolder]:
    """Yield the runs of all nights before a date, those without a verdict too."""
    found: list[AnyPath] = list(history.output.glob(f"{history.name}-????-??-??-*"))
    for folder in sorted(found, key=str):
        day = folder.name.removeprefix(f"{history.name}-")[: len("2026-01-31")]
        if day < str(first):
            yield RunFolder(folder)
