"""Values of a shard's columns in the types that a record has, whatever type they come in."""

import uuid
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.input.gold import MISSING, is_names, is_vote, read_gold
from medsent.predictions import gold_type, label_struct

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The years 1 to 9999, in days since 1970: other dates no library around us can show."""
_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}

Column: TypeAlias = pa.Array | pa.ChunkedArray


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values of a type are text: of any of Arrow's kinds, or UTF-8 as bytes."""
    kind = _plain(kind)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def is_id(kind: pa.DataType) -> bool:
    """Tell whether values of a type can name something: text, whole numbers, UUIDs."""
    plain = _plain(kind)
    whole = pa.types.is_integer(plain) or (pa.types.is_decimal(plain) and plain.scale == 0)
    return is_text(kind) or bool(whole or kind == pa.uuid())


def is_date(kind: pa.DataType) -> bool:
    """Tell whether values of a type have a day: dates, and timestamps of a zone that is known."""
    if pa.types.is_timestamp(kind):
        try:
            pa.array([0], kind).cast(pa.date32())
        except pa.ArrowException:
            return False
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def is_gold(kind: pa.DataType, labels: Sequence[str]) -> bool:
    """Tell whether a type is a list of label names, or a struct of a vote for each label."""
    if is_names(kind):
        return is_text(kind.value_type) or pa.types.is_null(kind.value_type)
    votes = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    return all(label in votes and is_vote(votes[label]) for label in labels)


def texts(column: Column) -> tuple[pa.Array, pa.Array]:
    """Return (N,) strings, and (N,) where a value is no UTF-8, which is null then.

    Readers of Parquet do not look whether a string is UTF-8.
    """
    raw = _decoded(_whole(column))
    if raw.type == pa.uuid():
        found = map(_uuid, raw.storage.to_pylist())
        return pa.array([v and str(v) for v in found], pa.string()), _none(raw)
    if not is_text(raw.type):
        return raw.cast(pa.string()), _none(raw)
    try:
        # A cast from bytes checks that they are UTF-8, one from another string type does not.
        made = raw.cast(pa.string())
        made.validate(full=True)
    except pa.ArrowInvalid:
        made = pa.array(map(_utf8, raw.cast(pa.binary()).to_pylist()), pa.string())
    return made, pc.xor(raw.is_null(), made.is_null())


def dates(column: Column) -> tuple[pa.Array, pa.Array]:
    """Return (N,) days, and (N,) where one lies outside the years 1 to 9999, null then."""
    raw = _whole(column)
    kind, known = raw.type, raw.is_valid()
    if pa.types.is_timestamp(kind):  # more days than a date holds would come back as another one
        since = raw.cast(pa.int64())
        first, last = _FIRST_DAY * _A_DAY[kind.unit], (_LAST_DAY + 1) * _A_DAY[kind.unit] - 1
        most = 2**63 - 1
        within = pc.and_(
            pc.greater_equal(since, max(first, -most)), pc.less_equal(since, min(last, most))
        )
        raw = pc.if_else(within, raw, pa.scalar(None, kind))
    days = raw.cast(pa.date32())
    since = days.cast(pa.int32())
    within = pc.and_(pc.greater_equal(since, _FIRST_DAY), pc.less_equal(since, _LAST_DAY))
    days = pc.if_else(within, days, pa.scalar(None, pa.date32()))
    return days, pc.and_(known, days.is_null())


def gold(
    rows: pa.Table, labels: Sequence[str], cut: float | None = None
) -> tuple[pa.Array, pa.Array]:
    """Return (N,) gold structs, and (N,) which rows hold something that is no label and no vote.

    `rows` may have a column `labels`, or one named after each label. With a `cut`, a vote of at
    least that is a yes.
    """
    kind = gold_type(labels)
    matrix, unknown = read_gold(rows, labels, cut)
    if matrix is None:
        return pa.nulls(rows.num_rows, kind), pa.repeat(False, rows.num_rows)
    return label_struct(matrix, matrix == MISSING, kind), pa.array(unknown)


def held_as(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a kept column of a type is held.

    One type stands for each family of Arrow types, so that shards of different writers agree and
    Arrow can take rows out of it.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return pa.string() if kind == pa.uuid() else held_as(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return held_as(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if is_names(kind):
        return pa.list_(held_as(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(held_as(kind.key_type), held_as(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, held_as(field.type)) for field in kind])
    return kind


def kept(column: Column, kind: pa.DataType) -> pa.Array:
    """Return (N,) values of a kept column in the run's type; bytes that are no UTF-8 as U+FFFD.

    Lists and the like are rebuilt of their values: Arrow's own casts of them do not look at
    strings, take no UUIDs, and lose values of list views.
    """
    raw = _decoded(_whole(column))
    if pa.types.is_null(raw.type):
        return pa.nulls(len(raw), kind)
    if pa.types.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(raw), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        values = kept(pc.list_flatten(raw), kind.value_type)
        return pa.ListArray.from_arrays(offsets, values, kind, mask=raw.is_null())
    if pa.types.is_map(kind):
        offsets = pa.array(raw.offsets.to_numpy())
        keys, items = kept(raw.keys, kind.key_type), kept(raw.items, kind.item_type)
        return pa.MapArray.from_arrays(offsets, keys, items, kind, mask=raw.is_null())
    if pa.types.is_struct(kind):
        fields = [kept(_field(raw, field.name), field.type) for field in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=raw.is_null())
    return _readable(raw) if kind == pa.string() else raw.cast(kind)


def both(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return a type that holds all values of both. Raises `pa.ArrowException` where none does."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    schemas = [pa.schema([("x", kind)]) for kind in (one, other)]
    merged = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    for kind in (one, other):
        _refuse_loss(kind, merged)
    return merged


def _refuse_loss(kind: pa.DataType, merged: pa.DataType) -> None:
    if pa.types.is_integer(kind) and pa.types.is_floating(merged):
        lost = kind.bit_width > np.finfo(merged.to_pandas_dtype()).nmant
    elif pa.types.is_integer(kind) and pa.types.is_decimal(merged):
        lost = len(str(2**kind.bit_width)) + merged.scale > merged.precision
    elif pa.types.is_decimal(kind):
        lost = pa.types.is_floating(merged)
    elif pa.types.is_timestamp(kind) and pa.types.is_timestamp(merged):
        lost = merged.unit == "ns" != kind.unit  # which holds the years 1677 to 2262 alone
    else:
        lost = kind == pa.uint64() and merged == pa.int64()
    if lost:
        raise pa.ArrowInvalid("the common type does not hold every value")
    for index in range(kind.num_fields):
        field = kind.field(index)
        among = merged.field(field.name if pa.types.is_struct(kind) else index)
        _refuse_loss(field.type, among.type)


def _field(column: pa.StructArray, name: str) -> pa.Array:
    """Return a struct's field; nulls where other shards alone have it."""
    has = column.type.get_field_index(name) >= 0
    return pc.struct_field(column, name) if has else pa.nulls(len(column))


def _readable(column: pa.Array) -> pa.Array:
    made, wrong = texts(column)
    if not pc.any(wrong).as_py():
        return made
    raw = column.cast(pa.binary()).to_pylist()
    return pa.array([None if v is None else v.decode(errors="replace") for v in raw], pa.string())


def _decoded(column: pa.Array) -> pa.Array:
    """Return the values of a categorical, and what an extension type other than UUID stores."""
    if isinstance(column, pa.ExtensionArray):
        return column if column.type == pa.uuid() else column.storage
    if not pa.types.is_dictionary(column.type):
        return column
    # Arrow cannot take values out of a dictionary of views.
    values = column.dictionary.cast(held_as(column.type.value_type))
    return pa.DictionaryArray.from_arrays(column.indices, values).dictionary_decode()


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of a categorical's values, or what an extension type stores."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _none(column: pa.Array) -> pa.Array:
    return pa.repeat(False, len(column))


def _uuid(value: bytes | None) -> uuid.UUID | None:
    return None if value is None else uuid.UUID(bytes=value)


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
