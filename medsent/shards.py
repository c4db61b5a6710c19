"""The input shards: found, listed and their footers read before anything is spent on them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from medsent.config import InputSettings
from medsent.errors import InputError
from medsent.labels import LABELS

_NEEDED = ("record_id", "text")
REQUIRED = (*_NEEDED, "language", "persona")
OPTIONAL = ("opinion_id", "date", "labels")
_CANONICAL = (*REQUIRED, *OPTIONAL)
_ADDED = ("path", "row_hash")
"""Columns that reading adds to each row."""
_LONGEST_TYPE = 60


@dataclass(frozen=True)
class Shard:
    """One Parquet file as it stands in storage."""

    path: str
    """Canonical: absolute, links resolved, with no scheme."""
    size_bytes: int
    modified: str
    rows: int


@dataclass(frozen=True)
class Shards:
    """A job's input: its files, their file system, and which columns to read."""

    files: tuple[Shard, ...]
    filesystem: fs.FileSystem
    columns: dict[str, str]
    """Our column name to the shard's, for those that are there."""
    kept: tuple[pa.Field, ...]

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return sum(file.rows for file in self.files)

    def listing(self) -> list[dict[str, Any]]:
        """Return what a manifest records of the input."""
        return [asdict(file) for file in self.files]


def open_shards(settings: InputSettings) -> Shards:
    """List the shards of `input.path`, read every footer, and settle the columns.

    Raises `InputError` that names the file where there is none, one is broken, or a
    column is missing or of a type that cannot be used.
    """
    unknown = sorted(set(settings.columns) - set(_CANONICAL) - set(LABELS))
    if unknown:
        raise InputError(
            f"input.columns: {unknown[0]!r} is not a column of ours ({', '.join(_CANONICAL)})"
        )
    filesystem, paths = _find(settings.path)
    files, schemas = [], []
    for info in paths:
        metadata, schema = _footer(filesystem, info)
        files.append(Shard(info.path, info.size, _stamp(info), metadata.num_rows))
        schemas.append(schema)
    columns = _settle(settings, schemas[0], files[0].path)
    for file, schema in zip(files, schemas, strict=True):
        _check(file.path, schema, columns, settings.keep)
    common = _common([file.path for file in files], schemas, {*columns.values(), *settings.keep})
    kept = tuple(common.field(name) for name in settings.keep)
    shards = Shards(tuple(files), filesystem, columns, kept)
    if not shards.rows:
        raise InputError(f"input.path: the shards in {settings.path} hold no rows")
    for ours in _NEEDED:
        if pa.types.is_null(common.field(columns[ours]).type):
            raise InputError(
                f"{settings.path}: column {columns[ours]!r} (input.columns.{ours}) is empty in "
                "every shard"
            )
    return shards


def _find(path: str) -> tuple[fs.FileSystem, list[fs.FileInfo]]:
    try:
        if "://" in path:
            filesystem, inner = fs.FileSystem.from_uri(path)
        else:
            filesystem, inner = fs.LocalFileSystem(), str(Path(path).expanduser().resolve())
        info = filesystem.get_file_info(inner)
        if info.type == fs.FileType.NotFound:
            raise InputError(f"input.path: there is nothing at {path}")
        found = [info]
        if info.type == fs.FileType.Directory:
            selector = fs.FileSelector(inner, recursive=True)
            found = filesystem.get_file_info(selector)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"input.path: cannot list {path}: {error}") from error
    visible = [
        f
        for f in found
        if f.type == fs.FileType.File
        and f.base_name.endswith(".parquet")
        and not _is_hidden(f.path.removeprefix(inner))
    ]
    if not visible:
        raise InputError(f"input.path: no shards (*.parquet) in {path}")
    return filesystem, sorted(visible, key=lambda f: str(f.path))


def _is_hidden(path: str) -> bool:
    """Tell whether a file or folder on the way is one that writers leave behind unfinished."""
    return any(part.startswith(("_", ".")) for part in path.split("/"))


def _footer(filesystem: fs.FileSystem, info: fs.FileInfo) -> tuple[pq.FileMetaData, pa.Schema]:
    try:
        with filesystem.open_input_file(info.path) as file:
            parquet = pq.ParquetFile(file)
            return parquet.metadata, parquet.schema_arrow
    except (OSError, pa.ArrowException) as error:
        what = "is empty (0 bytes)" if info.size == 0 else "is not a whole Parquet file"
        raise InputError(
            f"{info.path} {what}; write it again or take it out of the input"
        ) from error


def _stamp(info: fs.FileInfo) -> str:
    return info.mtime.isoformat() if info.mtime is not None else ""


def _settle(settings: InputSettings, schema: pa.Schema, path: str) -> dict[str, str]:
    """Decide which column of the shards serves as which of ours."""
    columns = {}
    for ours in (*_CANONICAL, *LABELS):
        theirs = settings.columns.get(ours, ours)
        if theirs is None:
            if ours in _NEEDED:
                raise InputError(f"input.columns.{ours} cannot be null: every record needs it")
            continue
        if theirs in schema.names:
            columns[ours] = theirs
        elif ours in settings.columns or ours in REQUIRED:
            raise InputError(_missing(path, ours, theirs, schema.names))
    if not set(LABELS) <= set(columns):
        columns = {ours: theirs for ours, theirs in columns.items() if ours not in LABELS}
    return columns


def _missing(path: str, ours: str, theirs: str, names: Sequence[str]) -> str:
    without = "" if ours in _NEEDED else f", or input.columns.{ours} to null to go without"
    return (
        f"{path}: no column {theirs!r} (it has {', '.join(names)}); "
        f"set input.columns.{ours} to your name for it{without}"
    )


def _check(path: str, schema: pa.Schema, columns: dict[str, str], keep: Sequence[str]) -> None:
    for ours, theirs in columns.items():
        if theirs not in schema.names:
            raise InputError(_missing(path, ours, theirs, schema.names))
        kind = schema.field(theirs).type
        if not _fits(ours, kind):
            raise InputError(
                f"{path}: column {theirs!r} (input.columns.{ours}) is {_short(kind)}; "
                f"it must be {_wanted(ours)}"
            )
        if theirs in _ADDED:
            raise InputError(
                f"{path}: a column that is read cannot be called {theirs!r}; rename it"
            )
    for name in keep:
        if name not in schema.names:
            raise InputError(f"{path}: no column {name!r}, which input.keep names")


def _common(
    paths: Sequence[str], schemas: Sequence[pa.Schema], names: Collection[str]
) -> pa.Schema:
    """Return the type of each column over all shards, or say which shard has quite another."""
    common = pa.schema([schemas[0].field(name) for name in sorted(names)])
    for path, schema in zip(paths, schemas, strict=True):
        for name in common.names:
            mine, before = pa.schema([schema.field(name)]), pa.schema([common.field(name)])
            try:
                both = pa.unify_schemas([before, mine], promote_options="permissive")
            except pa.ArrowException as error:
                raise InputError(
                    f"{path}: column {name!r} is {_short(mine.field(0).type)}, but "
                    f"{_short(before.field(0).type)} in {paths[0]}; "
                    "all shards must have it in one type"
                ) from error
            common = common.set(common.get_field_index(name), both.field(0))
    return common


def _wanted(ours: str) -> str:
    if ours == "labels":
        return "a struct of the 21 labels (integers) or a list of label names"
    if ours in LABELS:
        return "integers"
    if ours in ("record_id", "opinion_id"):
        return "a string or an integer"
    return "a date" if ours == "date" else "a string"


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST_TYPE else f"{text[: _LONGEST_TYPE - 1]}…"


def _fits(ours: str, kind: pa.DataType) -> bool:
    if pa.types.is_null(kind):  # a shard with no value at all in it
        return True
    if ours == "date":
        return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))
    if ours == "labels":
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return _is_text(kind.value_type) or pa.types.is_null(kind.value_type)
        votes = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
        return all(label in votes and _is_vote(votes[label]) for label in LABELS)
    if ours in LABELS:
        return _is_vote(kind)
    if ours in ("record_id", "opinion_id"):
        return _is_text(kind) or pa.types.is_integer(kind)
    return _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_vote(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_null(kind)
    )
