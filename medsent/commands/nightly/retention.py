"""What is kept of old nights: every report, and the predictions that are still compared with."""

import re
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from datetime import date
from typing import Final

import yaml

from medsent.commands.nightly.history import History, Night, last_good
from medsent.errors import LeaseError
from medsent.runs.drifted import reference_of
from medsent.runs.folder import RunFolder
from medsent.storage.lease import Lease
from medsent.storage.paths import AnyPath, located

PIN: Final = "keep"
"""A file of this name in a night's folder keeps its predictions."""


def retain(
    history: History, nights: Sequence[Night], keep: int, reference: RunFolder | None
) -> list[str]:
    """Remove the predictions of old nights; return the names of the runs that lost them.

    Kept are those of the last `keep` nights and of all that these were compared with, so that
    each can be judged again as it was; of the reference; of the last good night; of what a
    backfill beside them is watched against; and where a file `keep` says so. Nights that failed,
    or were replaced in the history by another run, go as the others do. Raises `OSError` where
    the storage refuses.
    """
    latest = nights[-keep:]
    kept = {name for night in latest for name in (night.run, night.last_good) if name}
    kept |= {good.run for good in [last_good(nights, date.max)] if good}
    pinned = {night.reference for night in latest} | {reference and str(reference.path)}
    before = _before(history, latest[0].night, kept)
    due = [run for run in before if str(run.path) not in pinned and not (run.path / PIN).exists()]
    watched = _watched_against(history.output) if due else set()
    removed = []
    for run in due:
        if str(run.path) in watched:
            continue
        with suppress(LeaseError), Lease(*located(run.path / "lease")):
            run.drop_predictions()  # unless a job works on an old night just now
            removed.append(run.path.name)
    return removed


def _watched_against(output: AnyPath) -> set[str | None]:
    """Return the references of the backfills in a folder, as their runs tell."""
    return {reference_of(RunFolder(each)) for each in output.glob("*")}


def _before(history: History, first: date, kept: Container[str | None]) -> Iterator[RunFolder]:
    """Yield the runs of all nights before a date that hold predictions, except those in `kept`.

    Nights without a verdict are included. Runs of other jobs with similar names are not: the
    configuration in a run says what it is. It is read only where there are predictions.
    """
    own = re.compile(rf"{re.escape(history.name)}-(\d{{4}}-\d\d-\d\d)-[0-9a-f]+")
    found: list[AnyPath] = list(history.output.glob(f"{history.name}-????-??-??-*"))
    for folder in sorted(found, key=str):
        named, run = own.fullmatch(folder.name), RunFolder(folder)
        if named is None or named[1] >= str(first) or folder.name in kept:
            continue
        if run.holds_predictions() and _night_of(run) == named[1]:
            yield run


def _night_of(run: RunFolder) -> str | None:
    """Return the date a run is for, of whatever version it is; None where it tells of none."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        told = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
        return str(told["night"]) if isinstance(told, dict) and told.get("night") else None
    return None
