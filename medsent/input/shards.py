"""The input shards: found, listed and their footers read before anything is spent on them."""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from medsent.config.input import InputSettings
from medsent.errors import InputError, some_of
from medsent.input.columns import NEEDED, Kinds, Settled, check_names, names_served, settle, unheld
from medsent.input.files import find_files, look
from medsent.input.partitions import path_columns
from medsent.input.shard import (
    BROKEN,
    REMEDY,
    BadShard,
    Fault,
    Shard,
    ShardBytes,
    bad,
    gone,
    rewritten,
)
from medsent.storage.paths import LFS_POINTER, StoredFile, shown

_FOOTER_READERS = 16
_MOST_NAMED = 5


@dataclass(frozen=True)
class Shards:
    """A job's input: its files, their file system, and which columns to read."""

    files: tuple[Shard, ...]
    filesystem: fs.FileSystem
    columns: dict[str, str]
    """Our column name to the shards', for those that any of them has."""
    kept: tuple[pa.Field, ...]
    labels: tuple[str, ...]
    """The labels that the shards may have gold for."""
    bad: tuple[BadShard, ...] = ()
    """The files that are left out; always none with `input.on_bad_shard: fail`."""
    passed_over: tuple[str, ...] = ()
    """Files below the input's path that are no shards by their names."""
    kinds: Mapping[Kinds, Sequence[str]] = field(default_factory=dict, compare=False, repr=False)
    """Types of the kept columns to the paths of the shards that have them in these."""
    disputed: tuple[Shard, ...] = field(default=(), compare=False, repr=False)
    """Those of the bad ones that only have kept columns in other types than most shards."""
    gold_cut: float | None = None
    """The vote from which on a label counts as given; None where votes are 0 and 1."""
    partly_labelled: tuple[str, ...] = ()
    """Labels that have a column in some shard, where too few have one to be taken for gold."""

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return sum(file.rows for file in self.files)

    def without_files(self) -> "Shards":
        """Return how shards are read, without saying which there are: what a worker needs."""
        return replace(self, files=(), bad=(), passed_over=(), kinds={}, disputed=())

    def without(self, unread: Sequence[BadShard]) -> "Shards":
        """Return the shards with some more left out."""
        left_out = {shard.path for shard in unread}
        files = tuple(file for file in self.files if file.path not in left_out)
        return replace(self, files=files, bad=tuple(sorted((*self.bad, *unread), key=_path)))

    def held_as(self, kept: Sequence[pa.Field]) -> "Shards":
        """Return the shards with the kept columns in the types that a run began with.

        Those whose values these do not hold are left out, as `on_bad_shard` then decides.
        """
        misfits, disputed = unheld(kept, self.kinds), {shard.path for shard in self.disputed}
        every = sorted((*self.files, *self.disputed), key=_path)
        unfit = [_unfit(shard, misfits[shard.path]) for shard in every if shard.path in misfits]
        bad = tuple(each for each in self.bad if each.path not in disputed)
        return replace(self, files=tuple(every), bad=bad, kept=tuple(kept)).without(unfit)


def open_shards(settings: InputSettings, labels: Sequence[str]) -> Shards:
    """List the shards of `input.path`, read every footer, and settle the columns.

    A shard that cannot be read as records ends in `bad` where `on_bad_shard` is
    `quarantine`. Raises `InputError` that names the files where it is `fail`, or where no
    shard is good; `StorageError` where the storage does not give them, whatever is set.
    """
    check_names(settings, labels)
    found = find_files(settings.path)
    serves = names_served(settings, labels)
    with ThreadPoolExecutor(_FOOTER_READERS) as threads:
        footers = list(threads.map(partial(_footer, found.filesystem, serves), found.files))
    schemas = {shard.path: schema for shard, schema in footers if schema is not None}
    settled = settle(settings, schemas, labels)
    all_shards = [_fitted(shard, settled) for shard, _ in footers]
    files = tuple(shard for shard in all_shards if isinstance(shard, Shard))
    unread = tuple(shard for shard in all_shards if isinstance(shard, BadShard))
    if unread and (not files or settings.on_bad_shard == "fail"):
        raise refusal(unread, some_are_good=bool(files))
    _refuse_no_rows(settings, files, settled, schemas)
    return Shards(
        files,
        found.filesystem,
        settled.columns,
        settled.kept,
        tuple(labels),
        unread,
        found.passed_over,
        settled.kinds,
        tuple(
            shard
            for shard, _ in footers
            if shard.path in settled.disputed and isinstance(shard, Shard)
        ),
        settings.gold_cut,
        settled.partly_labelled,
    )


def changed(shards: Shards, shard: Shard) -> BadShard | None:
    """Return what became of a shard since it was listed; None where it stands as it did.

    Raises `StorageError` where the storage does not tell.
    """
    now = look(shards.filesystem, shard.path)
    if now is None:
        return gone(shard, shard.rows)
    same = (now.size_bytes, now.etag) == (shard.size_bytes, shard.etag)
    return None if same else rewritten(shard)


def find_rewritten(shards: Shards) -> list[BadShard]:
    """Return the shards that hold other data now than when they were listed.

    Raises `StorageError` where the storage does not tell.
    """
    with ThreadPoolExecutor(_FOOTER_READERS) as threads:
        found = threads.map(partial(changed, shards), shards.files)
        return [each for each in found if each is not None and each.reason == Fault.REWRITTEN]


def refusal(unread: Sequence[BadShard], some_are_good: bool) -> InputError:
    """Return the error that tells of the first bad shard, and names a few others."""
    first, *others = unread
    message = first.message
    if others:
        named = [f"{shown(shard.path)} ({shard.reason})" for shard in others]
        message += f"; also bad: {some_of(named, _MOST_NAMED - 1)}"
    if some_are_good:
        them = "them" if others else "it"
        message += f". Or set input.on_bad_shard: quarantine to go on without {them}"
    return InputError(message)


def _footer(
    filesystem: fs.FileSystem, serves: Mapping[str, str], file: StoredFile
) -> tuple[Shard, pa.Schema] | tuple[BadShard, None]:
    if not file.size_bytes:
        return bad(file, Fault.EMPTY_FILE, f"is empty (0 bytes); {REMEDY}"), None
    try:
        with ShardBytes(filesystem, file.path) as source:
            parquet = pq.ParquetFile(source)
            footer, schema = parquet.metadata, parquet.schema_arrow.remove_metadata()
            groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
            if footer.num_rows != sum(groups):
                raise ValueError("the row groups do not add up")
    except FileNotFoundError:
        return gone(file), None
    except BROKEN:
        return bad(file, Fault.NOT_PARQUET, f"{_kind(filesystem, file.path)}; {REMEDY}"), None
    for name, value in path_columns(file.path, serves).items():
        if name not in schema.names:
            schema = schema.append(pa.field(name, value.type))
    return Shard(file.path, file.size_bytes, file.etag, footer.num_rows, groups), schema


def _kind(filesystem: fs.FileSystem, path: str) -> str:
    """Tell what a file is that is no Parquet file to us."""
    with ShardBytes(filesystem, path) as source:
        if source.read(len(LFS_POINTER)) == LFS_POINTER:
            return "is not the file itself but a git-lfs pointer to it (git lfs pull fetches it)"
        source.seek(-min(4, source.seek(0, io.SEEK_END)), io.SEEK_END)
        encrypted = source.read(4) == b"PARE"
    return (
        "is encrypted, and its key is not known here"
        if encrypted
        else "is not a whole Parquet file"
    )


def _unfit(shard: Shard, why: str) -> BadShard:
    return BadShard(**shard.told(), reason=Fault.OTHER_SCHEMA, message=why)


def _fitted(shard: Shard | BadShard, settled: Settled) -> Shard | BadShard:
    """Return the shard, as a bad one where its columns are not those of the others."""
    why = settled.misfits.get(shard.path)
    return shard if why is None or isinstance(shard, BadShard) else _unfit(shard, why)


def _path(shard: StoredFile) -> str:
    return shard.path


def _refuse_no_rows(
    settings: InputSettings,
    files: Sequence[Shard],
    settled: Settled,
    schemas: Mapping[str, pa.Schema],
) -> None:
    if not any(file.rows for file in files):
        raise InputError(f"input.path: the shards in {shown(settings.path)} hold no rows")
    for ours in NEEDED:
        theirs = settled.columns[ours]
        if all(pa.types.is_null(schemas[file.path].field(theirs).type) for file in files):
            raise InputError(
                f"{shown(settings.path)}: column {theirs!r} (input.columns.{ours}) is empty in "
                "every shard"
            )
