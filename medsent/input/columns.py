"""The columns of the shards: which serves as which of ours, and the type of those that are kept."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from medsent.config.input import InputSettings
from medsent.config.labels import nearest
from medsent.errors import InputError, some_of
from medsent.input.casting import both, held_as, is_date, is_gold, is_id, is_text
from medsent.input.gold import is_vote
from medsent.storage.paths import shown

NEEDED = ("record_id", "text")
REQUIRED = (*NEEDED, "language", "persona")
OPTIONAL = ("opinion_id", "date", "labels")
_CANONICAL = (*REQUIRED, *OPTIONAL)
_IDS = ("record_id", "opinion_id", "persona")
_LONGEST_TYPE = 60
_MOST_NAMED = 5
"""Labels in a message."""

Kinds = tuple[pa.DataType, ...]


@dataclass(frozen=True)
class Settled:
    """The columns that shards are read by, and the shards that do not have them."""

    columns: dict[str, str] = field(default_factory=dict)
    """Our column name to the shards', for those that any of them has; empty where none fits."""
    kept: tuple[pa.Field, ...] = ()
    """The kept columns, each in a type that holds it in all fitting shards."""
    kinds: dict[Kinds, list[str]] = field(default_factory=dict)
    """Types of the kept columns to the paths of the shards that have them in these."""
    misfits: dict[str, str] = field(default_factory=dict)
    """Path to why the shard cannot be read with the others."""
    disputed: frozenset[str] = frozenset()
    """Misfits whose only fault is that their kept columns have other types than in most shards."""
    partly_labelled: tuple[str, ...] = ()
    """Labels that have a column somewhere, where too few have one to be taken for gold."""


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


def names_served(settings: InputSettings, labels: Sequence[str]) -> dict[str, str]:
    """Return the shards' column names to ours, for those that are read where they are there."""
    every = (*_CANONICAL, *labels)
    return {theirs: ours for ours in every if (theirs := settings.columns.get(ours, ours))}


def settle(
    settings: InputSettings, schemas: Mapping[str, pa.Schema], labels: Sequence[str]
) -> Settled:
    """Settle the columns of shards, given as path to schema, in the order of their paths.

    The columns that serve as ours are cast to our types in each shard by itself. A kept column has
    one type over all shards: that of most of them, or one that holds the others' values too.
    """
    columns: dict[str, str] = {}
    misfits: dict[str, str] = {}
    partly: set[str] = set()
    kinds: dict[Kinds, list[str]] = defaultdict(list)
    for path, schema in schemas.items():
        try:
            found = serving(settings, path, schema, labels)
            own = tuple(held_as(_kept(path, schema, name)) for name in settings.keep)
        except InputError as error:
            misfits[path] = str(error)
            continue
        columns |= found
        if "labels" not in found and not set(labels) <= set(found):
            partly |= set(labels) & set(schema.names)
        kinds[own].append(path)
    held: Kinds | None = None
    disputed: list[str] = []
    for own in sorted(kinds, key=lambda each: -len(kinds[each])):
        try:
            held = own if held is None else _joined(settings.keep, held, own, kinds)
        except InputError as error:
            disputed += kinds[own]
            misfits |= {path: f"{shown(path)}: {error}" for path in kinds[own]}
    kept = tuple(map(pa.field, settings.keep, held or ()))
    return Settled(
        columns,
        kept,
        dict(kinds),
        dict(sorted(misfits.items())),
        frozenset(disputed),
        tuple(label for label in labels if label in partly),
    )


def unheld(kept: Sequence[pa.Field], kinds: Mapping[Kinds, Sequence[str]]) -> dict[str, str]:
    """Return path to why, for shards whose kept columns do not fit the types a run began with."""
    found: dict[str, str] = {}
    for own, paths in kinds.items():
        for column, kind in zip(kept, own, strict=True):
            if not _holds(column.type, kind):
                why = (
                    f"column {column.name!r} is {_short(kind)}, and the run holds it as "
                    f"{_short(column.type)} since its first start; cast it in the shard, or begin "
                    "a new run with another name"
                )
                found |= {path: f"{shown(path)}: {why}" for path in paths}
    return found


def serving(
    settings: InputSettings, path: str, schema: pa.Schema, labels: Sequence[str]
) -> dict[str, str]:
    """Return which column of one shard serves as which of ours; `InputError` where one cannot."""
    columns: dict[str, str] = {}
    unlabelled = settings.columns.get("labels", "") is None
    for ours in (*_CANONICAL, *labels):
        theirs = settings.columns.get(ours, ours)
        if theirs is None or not settings.reads(ours) or (unlabelled and ours in labels):
            continue
        if theirs in schema.names:
            columns[ours] = theirs
        elif ours in settings.columns or ours in REQUIRED:
            raise InputError(_missing(path, ours, theirs, schema.names))
    if not set(labels) <= set(columns):
        _refuse_part(settings, path, columns, schema.names, labels)
        columns = {ours: theirs for ours, theirs in columns.items() if ours not in labels}
    for ours, theirs in columns.items():
        _refuse_unfit(path, ours, _only(path, schema, theirs), labels)
    return columns


def _refuse_part(
    settings: InputSettings,
    path: str,
    columns: Mapping[str, str],
    names: Sequence[str],
    labels: Sequence[str],
) -> None:
    """Raise `InputError` where gold is meant as columns, and some labels have none.

    Where only a few columns have a label's name, they are taken for other data, not for gold.
    """
    found = [label for label in labels if label in columns]
    mapped = [label for label in found if settings.columns.get(label)]
    if "labels" in columns or not (mapped or 2 * len(found) > len(labels)):
        return
    lacking = [label for label in labels if label not in columns]
    free = [name for name in names if name not in columns.values()]
    told = some_of([f"{label}{_nearest(label, free)}" for label in lacking], _MOST_NAMED)
    raise InputError(
        f"{shown(path)}: gold as columns needs one for each label, and {len(found)} of "
        f"{len(labels)} are there; without one: {told}. "
        "Map each by input.columns (LABEL: YOUR_NAME), or set input.columns.labels to null to go "
        "without gold"
    )


def _nearest(label: str, names: Sequence[str]) -> str:
    near = nearest(label, names)
    return f" (is it {shown(near)!r}?)" if near else ""


def _joined(
    keep: Sequence[str], held: Kinds, own: Kinds, kinds: Mapping[Kinds, list[str]]
) -> Kinds:
    """Return types that hold a shard's kept columns beside the others'."""
    joined = []
    for name, before, kind in zip(keep, held, own, strict=True):
        try:
            joined.append(both(before, kind))
        except pa.ArrowException as error:
            first = shown(next(paths[0] for each, paths in kinds.items() if each != own))
            raise InputError(
                f"column {name!r}, which input.keep names, is {_short(kind)}, but {_short(before)} "
                f"in others such as {first}, and no type holds both; cast it to one type in all"
            ) from error
    return tuple(joined)


def _holds(held: pa.DataType, kind: pa.DataType) -> bool:
    try:
        return bool(both(held, kind) == held)
    except pa.ArrowException:
        return False


_MOST_COLUMNS = 40
"""Columns of a shard in a message; a table of features may have thousands."""


def _missing(path: str, ours: str, theirs: str, names: Sequence[str]) -> str:
    without = "" if ours in NEEDED else f", or input.columns.{ours} to null to go without"
    return (
        f"{shown(path)}: no column {theirs!r} (it has {some_of(names, _MOST_COLUMNS)}); "
        f"set input.columns.{ours} to your name for it{without}"
    )


def _kept(path: str, schema: pa.Schema, name: str) -> pa.DataType:
    if name not in schema.names:
        raise InputError(f"{shown(path)}: no column {name!r}, which input.keep names")
    return _only(path, schema, name).type


def _only(path: str, schema: pa.Schema, name: str) -> pa.Field:
    if schema.names.count(name) > 1:
        raise InputError(f"{shown(path)}: there are two columns {name!r}; rename one")
    return schema.field(name)


def _refuse_unfit(path: str, ours: str, theirs: pa.Field, labels: Sequence[str]) -> None:
    if _fits(ours, theirs.type, labels):
        return
    without = "" if ours in NEEDED else f"; to go without, set input.columns.{ours} to null"
    if ours == "labels" and (absent := _absent(theirs.type, labels)):
        raise InputError(
            f"{shown(path)}: column {theirs.name!r} (input.columns.labels) has "
            f"{len(labels) - len(absent)} of the {len(labels)} labels; there is no field "
            f"{absent[0]}{_nearest(absent[0], [each.name for each in theirs.type])}; it must be "
            f"{_wanted(ours, labels)}{without}"
        )
    raise InputError(
        f"{shown(path)}: column {theirs.name!r} (input.columns.{ours}) is {_short(theirs.type)}; "
        f"it must be {_wanted(ours, labels)}{without}"
    )


def _absent(kind: pa.DataType, labels: Sequence[str]) -> list[str]:
    """Return the labels that a struct lacks; none if it has no label at all, or is no struct."""
    fields = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    absent = [label for label in labels if label not in fields]
    return absent if len(absent) < len(labels) else []


def _wanted(ours: str, labels: Sequence[str]) -> str:
    if ours == "labels":
        return f"a struct of the {len(labels)} labels (votes of 0 and 1) or a list of label names"
    if ours in labels:
        return "votes of 0 and 1"
    if ours in _IDS:
        return "a string or an integer, so cast it"
    return "a date, or a timestamp of a known zone" if ours == "date" else "a string"


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST_TYPE else f"{text[: _LONGEST_TYPE - 1]}…"


def _fits(ours: str, kind: pa.DataType, labels: Sequence[str]) -> bool:
    if pa.types.is_null(kind):  # a shard with no value at all in it
        return True
    if ours == "date":
        return is_date(kind)
    if ours == "labels":
        return is_gold(kind, labels)
    if ours in labels:
        return is_vote(kind)
    return is_id(kind) if ours in _IDS else is_text(kind)
