"""Opinions that a run must hold no more: blanked where they are scored, never scored again."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from medsent.commands.backfill import export
from medsent.metrics.cuts import KeptCuts
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.predictions import rewrite
from medsent.runs.blocks import tidy
from medsent.runs.clusters import Clusters
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.scoring import accounting
from medsent.storage.paths import AnyPath, names_below, open_parquet, write_whole

_FIGURES = "metrics.json"
_REPORTS = ("report.html", "report.md", _FIGURES, "drift.json")
"""May quote opinions, or count few enough records to tell of one."""
_WORKERS = 4


@dataclass(frozen=True)
class Rewritten:
    """What an erasure wrote anew in a run."""

    records: int = 0
    """Records that were blanked in the predictions."""
    files: tuple[str, ...] = ()
    """Files of predictions that held them."""
    labelled_rows: int = 0
    labelled_files: tuple[str, ...] = ()
    complete: bool = False
    """Whether the run is complete: its manifest was written anew, and its report is to be."""


def erase(run: RunFolder, opinion_ids: Sequence[str]) -> Rewritten:
    """Take opinions out of a run.

    They are listed before anything else that tells of them is gone, so that a kill on the way
    forgets nothing: see `resume`. Thresholds come before, since the list has no ids to know
    their hashes by.
    """
    forget_tuned_on(run, opinion_ids)
    Erased.read(run).with_opinions(opinion_ids).write(run)
    return resume(run)


def resume(run: RunFolder) -> Rewritten:
    """Take out what a run's list still has to; every step may be done twice."""
    erased = Erased.read(run)
    if not erased.pending:
        return Rewritten()
    scored, manifest = run.holds_predictions(), run.manifest()
    for file in _quoting(run):
        # Of an old night the figures are all there is: they stay, and its reports are made of them.
        if scored or file.name != _FIGURES:
            file.unlink(missing_ok=True)
    tidy(run)
    export.finish(run)
    if clusters := Clusters.read(run):
        clusters.without(erased).write(run)
    blanked = _each(run.predictions, erased, erased.blank)
    removed = _each(run.labelled, erased, erased.drop)
    if manifest is not None and scored:
        fanned_out = run.config().input.fan_out == "personas"
        account = accounting.count(run, [], fanned_out=fanned_out)
        records = accounting.recounted(manifest.records, account)
        now = manifest.model_copy(update={"records": records})
        run.write(run.manifest_file.name, now.to_json())
    erased.model_copy(update={"pending": False}).write(run)
    return Rewritten(*blanked, *removed, complete=manifest is not None)


def forget_tuned_on(run: RunFolder, opinion_ids: Sequence[str]) -> None:
    """Take the hashes of opinions, and of their texts, out of the thresholds files of a run."""
    if any(run.path.glob("thresholds.json")):
        kept = KeptCuts.read(run)
        if (cuts := kept.without(opinion_ids)) != kept:
            cuts.write(run)
    for file in run.path.glob("thresholds-*.json"):
        thresholds = read_thresholds(file)
        left = thresholds.model_copy(update={"tuned_on": thresholds.tuned_on.without(opinion_ids)})
        if left != thresholds:
            write_whole(file, left.to_json())


def _quoting(run: RunFolder) -> Iterator[AnyPath]:
    """Yield the reports, and what a kill left behind of writing files whole."""
    for name in _REPORTS:
        yield run.path / name
        yield from run.path.glob(f".{name}.*")
    for folder in (run.predictions, run.labelled):
        yield from _below(folder, ".*.parquet.*")


def _below(folder: AnyPath, pattern: str) -> list[AnyPath]:
    return [folder / name for name in names_below(folder, pattern)]


def _each(
    folder: AnyPath, erased: Erased, changed: Callable[[pa.Table], pa.Table]
) -> tuple[int, tuple[str, ...]]:
    """Write the files anew that hold listed opinions; return their rows, and which they were."""

    def write(name: str) -> int:
        file = folder / name
        with open_parquet(file) as parquet:
            ids = parquet.read(columns=["opinion_id"])["opinion_id"]
            found = pc.sum(erased.matches(ids)).as_py() or 0
            if found:
                rewrite(file, changed(parquet.read()))
        return int(found)

    names = names_below(folder, "*.parquet")
    with ThreadPoolExecutor(_WORKERS) as threads:
        rows = list(threads.map(write, names))
    return sum(rows), tuple(name for name, found in zip(names, rows, strict=True) if found)
