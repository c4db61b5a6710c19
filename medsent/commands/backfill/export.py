"""Labelled rows handed on: partitioned, in files of a good size, each row once.

A call adds what is new in the predictions since the last one. It first writes the new files
aside, then what is to be done with them (`_commit.json`): a kill before that leaves all as it
was, and one after it is made good by the next call. Readers pass over names that begin with
`_`. Where rows that were handed on have changed since, all is made anew.
"""

import logging
import posixpath
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import ConfigDict

from medsent import predictions
from medsent.commands.backfill.folders import OTHER, LanguageFolders, Shortened
from medsent.commands.backfill.rows import labelled_rows, schema
from medsent.commands.backfill.settings import LabelledSettings
from medsent.errors import ConfigError, RunError
from medsent.runs.blocks import is_part
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import Plan
from medsent.storage.paths import (
    AnyPath,
    ObjectPath,
    count_rows,
    located,
    move,
    names_below,
    remove_folder,
    write_whole,
)

logger = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
_MOST_PARTITIONS: Final = 2_000
_MOST_OPEN: Final = 500
"""Files that are written at a time; a process may often have no more than 1,024."""
_ROWS_IN_GROUP: Final = 131_072
_STATE, _COMMIT, _STAGED = "_state.json", "_commit.json", "_staged"
_REMEDY: Final = "delete it and _state.json beside it, and the next call makes all files anew"


@dataclass(frozen=True)
class HandedOn:
    """What is in `labelled/` now, and what the call wrote."""

    rows: int
    files: int
    added: int
    """Rows that the call added."""
    rewritten: int
    """Partitions that it wrote files of."""
    new: tuple[str, ...]
    """Files of predictions that have come since the last call; none where all are new."""
    shortened: int = 0
    """Added rows of which a value was too long to name a folder, and is shortened."""


class MadeBy(Written):
    """What rows depend on besides the predictions; keys of newer versions are compared as well."""

    model_config = ConfigDict(extra="allow")

    schema_version: int = 0
    """0 where a file does not tell."""
    partition_by: list[str]
    thresholds: dict[str, dict[str, float]]
    """Variant to label to threshold."""


class State(Written):
    """What `labelled/` was made of."""

    made_by: MadeBy | None = None
    """None before the first call."""
    sources: dict[str, int] = {}
    """File of predictions to its number of rows. Files never grow; one with fewer has changed."""
    calls: int = 0
    """Calls that wrote something: each names its files by its number."""


class Commit(Written):
    """What is to be done with the files that are staged."""

    replaced: list[str]
    """Files that go."""
    state: State
    """Of `labelled/` from then on."""


def hand_on(plan: Plan, run: RunFolder, settings: LabelledSettings) -> HandedOn:
    """Bring `labelled/` of a run up to its predictions; return what is there then."""
    folder = _Folder(run.labelled)
    folder.finish()
    before, now = folder.state(), _sources(run)
    made_by = _made_by(plan, settings)
    changed = any(now.get(name) != rows for name, rows in before.sources.items())
    anew = changed or before.made_by != made_by
    new = sorted(now.keys() if anew else now.keys() - before.sources.keys())
    added = written = 0
    fit = Shortened(settings.partition_by)
    if new or changed:
        stage = _Stage(folder, settings, before.calls + 1, anew)
        rows = schema(settings.partition_by, plan.labels.names, plan.shards.kept)
        scored = [run.predictions / name for name in new]
        stage.write(lambda: fit.of(labelled_rows(plan, run, scored, rows)), rows, plan.languages)
        added, written, replaced = stage.compact()
        folder.commit(replaced, State(made_by=made_by, sources=now, calls=before.calls + 1))
    files, since = folder.files(), () if anew or not before.sources else tuple(new)
    rows_in_all = sum(count_rows(folder.path, files))
    return HandedOn(rows_in_all, len(files), added, written, since, fit.rows)


def finish(run: RunFolder) -> None:
    """Finish or forget what a kill cut short, so that `labelled/` holds whole files alone."""
    _Folder(run.labelled).finish()


def forget(run: RunFolder) -> None:
    """Have the next call make `labelled/` anew: blocks are about to be scored again."""
    folder = _Folder(run.labelled)
    folder.finish()
    (folder.path / _STATE).unlink(missing_ok=True)


class _Folder:
    """`labelled/`, and the two steps in which it changes."""

    def __init__(self, path: AnyPath) -> None:
        self.path = path

    @property
    def staged(self) -> AnyPath:
        """Where the new files wait, under the names that they will have."""
        return self.path / _STAGED

    def files(self) -> list[str]:
        """Return the names of the files that readers see."""
        found = names_below(self.path, "*.parquet")
        return [name for name in found if not name.startswith(f"{_STAGED}/")]

    def state(self) -> State:
        """Return what the folder was made of; nothing where that is not known."""
        with suppress(RunError):
            return read_file(self.path / _STATE, State, _REMEDY) or State()
        return State()

    def commit(self, replaced: list[str], state: State) -> None:
        """Put what is staged in the place of the files it replaces."""
        # A name is used again where the former state was lost.
        names = sorted(set(replaced) - set(names_below(self.staged, "*.parquet")))
        write_whole(self.path / _COMMIT, Commit(replaced=names, state=state).to_json())
        self.finish()

    def finish(self) -> None:
        """Carry out a commit that was written; forget what was staged without one."""
        file = self.path / _COMMIT
        if commit := read_file(file, Commit, _REMEDY):
            for name in commit.replaced:
                (self.path / name).unlink(missing_ok=True)
            for name in names_below(self.staged, "*.parquet"):
                move(self.staged / name, self.path / name)
            write_whole(self.path / _STATE, commit.state.to_json())
            file.unlink()
        remove_folder(self.staged)


class _Stage:
    """New files, made beside the ones that readers see."""

    def __init__(
        self, folder: _Folder, settings: LabelledSettings, number: int, anew: bool
    ) -> None:
        self._folder, self._settings, self._number = folder, settings, number
        self._standing = folder.files()
        self._anew = anew
        self._raw = folder.staged / "_raw"
        self._raw.mkdir(parents=True)

    def write(
        self,
        batches: Callable[[], Iterable[pa.RecordBatch]],
        rows: pa.Schema,
        languages: Collection[str],
    ) -> None:
        """Write rows into a folder for each partition, in pieces as they come.

        Where there are too many folders, a language that is not one of `languages` is `other`.
        Raises `ConfigError` where there are still too many.
        """
        try:
            self._write(batches(), rows)
        except ConfigError:
            if "language" not in self._settings.partition_by:
                raise
            remove_folder(self._raw)
            self._raw.mkdir(parents=True)
            folders = LanguageFolders(languages)
            self._write(map(folders.named, batches()), rows)
            logger.info(
                f"Labelled: {folders.others:,} rows are in language={OTHER}, since each language a "
                "folder of its own would be too many"
            )

    def _write(self, batches: Iterable[pa.RecordBatch], rows: pa.Schema) -> None:
        by = [rows.field(name) for name in self._settings.partition_by]
        filesystem, folder = located(self._raw)
        try:
            ds.write_dataset(
                batches,
                folder,
                filesystem=filesystem,
                create_dir=not isinstance(self._raw, ObjectPath),
                schema=rows,
                format="parquet",
                partitioning=ds.partitioning(pa.schema(by), flavor="hive"),
                max_partitions=_MOST_PARTITIONS,
                max_open_files=_MOST_OPEN,
            )
        except pa.ArrowInvalid as error:
            if "partitions" not in str(error):
                raise
            raise ConfigError(
                f"labelled.partition_by gives over {_MOST_PARTITIONS:,} folders; partition by "
                "less, such as by month in place of date"
            ) from None

    def compact(self) -> tuple[int, int, list[str]]:
        """Make files of a good size of the pieces and of the small files beside them.

        Returns the new rows, the partitions written, and the standing files that are replaced.
        """
        added, replaced = 0, self._standing if self._anew else []
        partitions = _by_folder(names_below(self._raw, "*.parquet"))
        standing = {} if self._anew else _by_folder(self._standing)
        for place, pieces in partitions.items():
            small = self._small(standing.get(place, []))
            added += sum(count_rows(self._raw, pieces))
            files = [self._folder.path / name for name in small]
            self._join([*files, *(self._raw / name for name in pieces)], place)
            replaced = [*replaced, *small]
        remove_folder(self._raw)
        return added, len(partitions), replaced

    def _small(self, names: list[str]) -> list[str]:
        rows = zip(names, count_rows(self._folder.path, names), strict=True)
        return [name for name, count in rows if count < self._settings.rows_per_file / 2]

    def _join(self, files: list[AnyPath], place: str) -> None:
        """Write the rows of some files as staged files of the most rows allowed."""
        (self._folder.staged / place).mkdir(parents=True, exist_ok=True)
        filesystem, folder = located(self._folder.staged)
        most, writer, room, part = self._settings.rows_per_file, None, 0, 0
        for batch in predictions.read(files, rows=min(most, _ROWS_IN_GROUP)):
            while batch.num_rows:
                if writer is None:
                    name = f"part-{self._number:05d}-{part:05d}.parquet"
                    writer = pq.ParquetWriter(
                        posixpath.join(folder, place, name),
                        batch.schema,
                        compression="zstd",
                        filesystem=filesystem,
                    )
                    room, part = most, part + 1
                writer.write_batch(batch.slice(0, room))
                batch, room = batch.slice(room), room - min(room, batch.num_rows)
                if not room:
                    writer.close()
                    writer = None
        if writer is not None:
            writer.close()


def _sources(run: RunFolder) -> dict[str, int]:
    """Return each file of a finished block with its number of rows; files of parts are left out."""
    names = [name for name in names_below(run.predictions, "*.parquet") if not is_part(name)]
    return dict(zip(names, count_rows(run.predictions, names), strict=True))


def _by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(posixpath.dirname(name), []).append(name)
    return found


def _made_by(plan: Plan, settings: LabelledSettings) -> MadeBy:
    thresholds = {variant.name: variant.thresholds for variant in plan.variants}
    return MadeBy(
        schema_version=SCHEMA_VERSION,
        partition_by=list(settings.partition_by),
        thresholds=thresholds,
    )
