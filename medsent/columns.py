"""The columns of the shards: which serves as which of ours, and in which type over all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from medsent.config import InputSettings
from medsent.errors import InputError

NEEDED = ("record_id", "text")
REQUIRED = (*NEEDED, "language", "persona")
OPTIONAL = ("opinion_id", "date", "labels")
_CANONICAL = (*REQUIRED, *OPTIONAL)
_ADDED = ("path", "row_hash")
"""Columns that reading adds to each row."""
_LONGEST_TYPE = 60


@dataclass(frozen=True)
class Settled:
    """The columns that shards are read by, and the shards that do not have them."""

    columns: dict[str, str] = field(default_factory=dict)
    """Our column name to the shards', for those that are there; empty where no shard fits."""
    types: pa.Schema = field(default_factory=lambda: pa.schema([]))
    """The type over all fitting shards of each column that is read."""
    misfits: dict[str, str] = field(default_factory=dict)
    """Path to why the shard cannot be read with the others."""


def check_names(settings: InputSettings, labels: Sequence[str]) -> None:
    """Raise `InputError` where `input.columns` names what is no column, or leaves out the text."""
    unknown = sorted(set(settings.columns) - set(_CANONICAL) - set(labels))
    if unknown:
        raise InputError(
            f"input.columns: {unknown[0]!r} is not a column of ours ({', '.join(_CANONICAL)}) "
            "and no label"
        )
    for ours in NEEDED:
        if settings.columns.get(ours, ours) is None:
            raise InputError(f"input.columns.{ours} cannot be null: every record needs it")


def settle(
    settings: InputSettings, schemas: Mapping[str, pa.Schema], labels: Sequence[str]
) -> Settled:
    """Settle the columns of shards, given as path to schema, in the order of their paths.

    With `on_bad_shard: fail` the first shard that can be read is what the others must be
    like; with `quarantine` it is what most of them are like, so that one odd shard which
    happens to come first does not condemn all others.
    """
    fitting: dict[str, dict[str, str]] = {}
    misfits: dict[str, str] = {}
    for path, schema in schemas.items():
        try:
            fitting[path] = _columns(settings, path, schema, labels)
        except InputError as error:
            misfits[path] = str(error)
    if not fitting:
        return Settled(misfits=misfits)
    if settings.on_bad_shard == "fail":
        first = next(iter(fitting))
        agreement = _Agreement(first, fitting[first], schemas[first], settings.keep, labels)
    else:
        agreement = _largest(fitting, schemas, settings.keep, labels)
    for path in (each for each in fitting if each not in agreement.paths):
        try:
            agreement.admit(path, schemas[path])
        except InputError as error:
            misfits[path] = str(error)
    return Settled(agreement.columns, agreement.types, dict(sorted(misfits.items())))


class _Agreement:
    """Shards that can be read together, by the columns of the first of them."""

    def __init__(
        self,
        first: str,
        columns: dict[str, str],
        schema: pa.Schema,
        keep: Sequence[str],
        labels: Sequence[str],
    ) -> None:
        self._first, self._keep, self._labels = first, keep, labels
        self.columns = columns
        self.types = _only(schema, {*columns.values(), *keep})
        self.paths = {first}

    def admit(self, path: str, schema: pa.Schema) -> None:
        """Add a shard, or raise `InputError` that tells what it lacks or has in another type."""
        _check(path, schema, self.columns, self._keep, self._labels)
        mine = _only(schema, self.types.names)
        if not mine.equals(self.types):
            self.types = pa.schema(
                [self._both(path, *pair) for pair in zip(self.types, mine, strict=True)]
            )
        self.paths.add(path)

    def _both(self, path: str, before: pa.Field, mine: pa.Field) -> pa.Field:
        """Return the column in a type that holds both."""
        schemas = [pa.schema([before]), pa.schema([mine])]
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").field(0)
        except pa.ArrowException as error:
            raise InputError(
                f"{path}: column {mine.name!r} is {_short(mine.type)}, but "
                f"{_short(before.type)} in {self._first}; all shards must have it in one type"
            ) from error


def _largest(
    fitting: Mapping[str, dict[str, str]],
    schemas: Mapping[str, pa.Schema],
    keep: Sequence[str],
    labels: Sequence[str],
) -> _Agreement:
    """Return the agreement of most shards, the earliest of those as large."""
    agreements: list[_Agreement] = []
    for path, columns in fitting.items():
        same = (each for each in agreements if each.columns == columns)
        if not any(_admits(each, path, schemas[path]) for each in same):
            agreements.append(_Agreement(path, columns, schemas[path], keep, labels))
    return max(agreements, key=lambda each: len(each.paths))


def _admits(agreement: _Agreement, path: str, schema: pa.Schema) -> bool:
    try:
        agreement.admit(path, schema)
    except InputError:
        return False
    return True


def _only(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return the columns of those names, in the order of the alphabet."""
    return pa.schema([schema.field(name).remove_metadata() for name in sorted(names)])


def _columns(
    settings: InputSettings, path: str, schema: pa.Schema, labels: Sequence[str]
) -> dict[str, str]:
    """Return which column of one shard serves as which of ours; `InputError` where one cannot."""
    columns = {}
    for ours in (*_CANONICAL, *labels):
        theirs = settings.columns.get(ours, ours)
        if theirs is None or not settings.reads(ours):
            continue
        if theirs in schema.names:
            columns[ours] = theirs
        elif ours in settings.columns or ours in REQUIRED:
            raise InputError(_missing(path, ours, theirs, schema.names))
    if not set(labels) <= set(columns):
        columns = {ours: theirs for ours, theirs in columns.items() if ours not in labels}
    _check(path, schema, columns, settings.keep, labels)
    return columns


def _missing(path: str, ours: str, theirs: str, names: Sequence[str]) -> str:
    without = "" if ours in NEEDED else f", or input.columns.{ours} to null to go without"
    return (
        f"{path}: no column {theirs!r} (it has {', '.join(names)}); "
        f"set input.columns.{ours} to your name for it{without}"
    )


def _check(
    path: str,
    schema: pa.Schema,
    columns: dict[str, str],
    keep: Sequence[str],
    labels: Sequence[str],
) -> None:
    for ours, theirs in columns.items():
        if theirs not in schema.names:
            raise InputError(_missing(path, ours, theirs, schema.names))
        if schema.names.count(theirs) > 1:
            raise InputError(f"{path}: there are two columns {theirs!r}; rename one")
        kind = schema.field(theirs).type
        if not _fits(ours, kind, labels):
            without = "" if ours in NEEDED else f"; to go without, set input.columns.{ours} to null"
            raise InputError(
                f"{path}: column {theirs!r} (input.columns.{ours}) is {_short(kind)}; "
                f"it must be {_wanted(ours, labels)}{without}"
            )
        if theirs in _ADDED:
            raise InputError(
                f"{path}: a column that is read cannot be called {theirs!r}; rename it"
            )
    for name in keep:
        if name not in schema.names:
            raise InputError(f"{path}: no column {name!r}, which input.keep names")
        if schema.names.count(name) > 1:
            raise InputError(f"{path}: there are two columns {name!r}; rename one")


def _wanted(ours: str, labels: Sequence[str]) -> str:
    if ours == "labels":
        return f"a struct of the {len(labels)} labels (integers) or a list of label names"
    if ours in labels:
        return "integers"
    if ours in ("record_id", "opinion_id"):
        return "a string or an integer"
    return "a date" if ours == "date" else "a string"


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST_TYPE else f"{text[: _LONGEST_TYPE - 1]}…"


def _fits(ours: str, kind: pa.DataType, labels: Sequence[str]) -> bool:
    if pa.types.is_null(kind):  # a shard with no value at all in it
        return True
    if ours == "date":
        return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))
    if ours == "labels":
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return _is_text(kind.value_type) or pa.types.is_null(kind.value_type)
        votes = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
        return all(label in votes and _is_vote(votes[label]) for label in labels)
    if ours in labels:
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
