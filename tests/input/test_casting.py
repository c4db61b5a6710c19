"""Values of every Arrow type come back equal, in the types that a record has."""

import io
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.input.casting import both, dates, held_as, is_date, is_id, is_text, kept, texts

STRINGS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view()]
CATEGORIES = [
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.uint32(), pa.large_string()),
    pa.dictionary(pa.int64(), pa.string(), ordered=True),
]
INTEGERS = [
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.uint64(),
]
PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def as_stored(column: pa.Array) -> pa.ChunkedArray:
    """Return a column as a shard's reader gives it, in batches of two rows."""
    file = io.BytesIO()
    pq.write_table(pa.table({"x": column}), file)
    batches = list(pq.ParquetFile(file).iter_batches(2))
    parts = [batch["x"] for batch in batches]
    return pa.chunked_array(parts, parts[0].type) if parts else pa.chunked_array([column])


def none_of(column: pa.Array) -> bool:
    return not any(column.to_pylist())


@given(st.lists(st.none() | st.text(), max_size=6), st.sampled_from([*STRINGS, *BYTES]))
def test_a_text_of_any_kind_is_the_same_text(values: list[str | None], kind: pa.DataType) -> None:
    stored = [v and v.encode() for v in values] if kind in BYTES else values
    column = pa.array(stored, kind)
    assert is_text(kind)
    for each in (column, as_stored(column)):
        made, wrong = texts(each)
        assert made.type == pa.string()
        assert made.to_pylist() == [v.decode() if isinstance(v, bytes) else v for v in stored]
        assert none_of(wrong)


@given(st.lists(st.none() | st.text(max_size=4), max_size=6), st.sampled_from(CATEGORIES))
def test_a_category_is_the_text_that_it_stands_for(
    values: list[str | None], kind: pa.DataType
) -> None:
    column = pa.array(values, kind)
    for each in (column, pa.chunked_array([column, column[1:]])):
        assert is_text(kind)
        assert texts(each)[0].to_pylist() == each.to_pylist()
        assert none_of(texts(each)[1])


def test_a_category_may_be_of_views_which_nothing_can_be_picked_of() -> None:
    codes = pa.array([1, None, 0], pa.int8())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b"], pa.string_view()))
    assert texts(column)[0].to_pylist() == ["b", None, "a"]


@given(st.lists(st.none() | st.binary(max_size=6), max_size=6), st.sampled_from(range(4)))
def test_bytes_that_are_no_utf8_are_null_and_told(values: list[bytes | None], way: int) -> None:
    plain = pa.array(values, pa.binary())
    column = [
        plain,
        plain.view(pa.string()),
        plain.cast(pa.binary_view()).view(pa.string_view()),
        plain.view(pa.string()).dictionary_encode(),
    ][way]
    whole = [v is None or v.decode(errors="ignore").encode() == v for v in values]
    made, wrong = texts(column)
    made.validate(full=True)
    assert wrong.to_pylist() == [not good for good in whole]
    expected = zip(values, whole, strict=True)
    assert made.to_pylist() == [
        v.decode() if v is not None and good else None for v, good in expected
    ]
    if way:  # bytes are kept as bytes
        held = kept(column, pa.string())
        held.validate(full=True)
        assert held.to_pylist() == [v if v is None else v.decode(errors="replace") for v in values]


@given(st.data(), st.sampled_from(INTEGERS), st.booleans())
def test_a_number_names_by_its_digits(data: st.DataObject, kind: pa.DataType, coded: bool) -> None:
    bits = kind.bit_width - pa.types.is_signed_integer(kind)
    lowest = -(2**bits) if pa.types.is_signed_integer(kind) else 0
    numbers = st.none() | st.integers(lowest, 2**bits - 1)
    values = data.draw(st.lists(numbers, max_size=5))
    column = pa.array(values, kind)
    column = column.dictionary_encode() if coded else column
    assert is_id(column.type)
    assert texts(column)[0].to_pylist() == [v if v is None else str(v) for v in values]


@given(
    st.lists(st.none() | st.integers(-(10**28), 10**28), max_size=5),
    st.sampled_from([pa.decimal128(38, 0), pa.decimal256(60, 0)]),
)
def test_a_decimal_names_by_its_digits(values: list[int | None], kind: pa.DataType) -> None:
    column = pa.array([v if v is None else Decimal(v) for v in values], kind)
    assert is_id(kind)
    for each in (column, as_stored(column)):
        assert texts(each)[0].to_pylist() == [v if v is None else str(v) for v in values]


@given(st.lists(st.none() | st.uuids(), max_size=5))
def test_a_uuid_is_its_36_characters(values: list[uuid.UUID | None]) -> None:
    stored = pa.array([v and v.bytes for v in values], pa.binary(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), stored)
    for each in (column, as_stored(column)):
        assert is_id(each.type)
        assert texts(each)[0].to_pylist() == [v and str(v) for v in values]
        assert kept(each, held_as(each.type)).to_pylist() == [v and str(v) for v in values]


def test_what_is_no_text_and_names_nothing_is_told() -> None:
    for kind in (pa.int64(), pa.uuid(), pa.list_(pa.string()), pa.decimal128(9, 0)):
        assert not is_text(kind)
    for kind in (pa.float64(), pa.decimal128(9, 2), pa.bool_(), pa.date32(), pa.binary(16)):
        assert not is_id(kind)
    for kind in (pa.string(), pa.int64(), pa.time32("s"), pa.timestamp("us", "Mars/Olympus")):
        assert not is_date(kind)


def days_of(value: int, unit: str) -> date | None:
    """Return the day of so many units since 1970 in UTC; None outside the years 1 to 9999."""
    days = value // PER_DAY[unit]
    first, last = date.min.toordinal(), date.max.toordinal()
    ordinal = date(1970, 1, 1).toordinal() + days
    return date.fromordinal(ordinal) if first <= ordinal <= last else None


@given(
    st.lists(st.none() | st.integers(-(2**63) + 1, 2**63 - 1), max_size=5),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_a_time_is_its_day_or_lost_and_never_another_day(
    values: list[int | None], unit: str
) -> None:
    for kind in (pa.timestamp(unit), pa.timestamp(unit, "UTC")):
        made, lost = dates(pa.array(values, kind))
        assert made.type == pa.date32()
        assert made.to_pylist() == [v if v is None else days_of(v, unit) for v in values]
        assert lost.to_pylist() == [v is not None and days_of(v, unit) is None for v in values]


@given(st.lists(st.none() | st.dates(), max_size=5), st.sampled_from([pa.date32(), pa.date64()]))
def test_a_date_is_the_same_date(values: list[date | None], kind: pa.DataType) -> None:
    for each in (pa.array(values, kind), as_stored(pa.array(values, kind))):
        made, lost = dates(each)
        assert made.to_pylist() == values
        assert none_of(lost)


@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=5))
def test_a_day_outside_the_years_that_can_be_shown_is_lost(values: list[int | None]) -> None:
    made, lost = dates(pa.array(values, pa.int32()).view(pa.date32()))
    expected = [v if v is None else days_of(v * PER_DAY["s"], "s") for v in values]
    assert made.to_pylist() == expected
    told = zip(values, expected, strict=True)
    assert lost.to_pylist() == [v is not None and day is None for v, day in told]


@given(
    # After 2037 Arrow knows no summer time.
    st.integers(-2_000_000_000, 2_100_000_000).map(
        lambda since: datetime.fromtimestamp(since, UTC)
    ),
    st.sampled_from(["Europe/Warsaw", "America/New_York", "Asia/Kathmandu", "UTC"]),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_a_time_of_a_zone_is_of_its_day_there(moment: datetime, zone: str, unit: str) -> None:
    made, _ = dates(as_stored(pa.array([moment, None], pa.timestamp(unit, zone))))
    assert made.to_pylist() == [moment.astimezone(ZoneInfo(zone)).date(), None]


def test_no_value_at_all_is_no_date_and_no_text() -> None:
    assert dates(pa.nulls(2))[0].to_pylist() == texts(pa.nulls(2))[0].to_pylist() == [None, None]


def test_the_last_day_of_all_in_a_zone_ahead_is_lost() -> None:
    moment = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    made, lost = dates(pa.array([moment, moment - timedelta(days=2)], pa.timestamp("us", "+05:00")))
    assert made.to_pylist() == [None, date(9999, 12, 30)]
    assert lost.to_pylist() == [True, False]


Column = tuple[pa.DataType, st.SearchStrategy[Any]]


@st.composite
def nested(draw: st.DrawFn, depth: int = 2) -> Column:
    """Return a type, nested up to so deep, and what gives its values."""
    leaves: list[Column] = [
        (draw(st.sampled_from([*STRINGS, CATEGORIES[0]])), st.text(max_size=15)),
        (draw(st.sampled_from(BYTES)), st.binary(max_size=15)),
        (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates()),
    ]
    wrapped = draw(st.integers(0, 3)) if depth else 0
    kind, values = draw(st.sampled_from(leaves)) if not wrapped else draw(nested(depth - 1))
    if wrapped == 1:
        lists = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]
        return draw(st.sampled_from(lists))(kind), st.lists(st.none() | values, max_size=3)
    if wrapped == 2:
        fields = {"a.b": st.none() | values, "n": st.integers(0, 9)}
        return pa.struct([("a.b", kind), ("n", pa.int8())]), st.fixed_dictionaries(fields)
    if wrapped == 3:
        keys = draw(st.sampled_from(STRINGS))
        pairs = st.tuples(st.text(max_size=3), st.none() | values)
        return pa.map_(keys, kind), st.lists(pairs, max_size=3)
    return kind, values


@given(st.data(), nested())
def test_a_kept_column_of_any_type_comes_through(data: st.DataObject, column: Column) -> None:
    kind, values = column
    stored = pa.array(data.draw(st.lists(st.none() | values, max_size=5)), kind)
    held = held_as(kind)
    assert held == held_as(held) == both(held, held)
    columns = [stored, stored[1:], pa.chunked_array([stored, stored[:1]])]
    if "view" not in str(kind):  # nested ones pyarrow itself does not write
        columns.append(as_stored(stored))
    for each in columns:
        made = kept(each, held)
        made.validate(full=True)
        assert made.type == held
        assert made.to_pylist() == each.to_pylist()
        picked = pa.table({"x": made}).take(pa.array(range(len(made)), pa.int64()))
        assert picked["x"].to_pylist() == made.to_pylist()


def test_a_list_of_one_size_is_held_as_a_list() -> None:
    column = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2))
    made = kept(column, held_as(column.type))
    assert made.to_pylist() == [[1, 2], None, [3, 4]]
    assert made.type == pa.list_(pa.int8())


@pytest.mark.parametrize("wrap", ["list", "struct", "map"])
def test_within_others_uuids_are_texts_and_bytes_that_are_no_utf8_are_marked(wrap: str) -> None:
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\x01" * 16, None], pa.binary(16)))
    bad = pa.array([b"a\xff", None], pa.binary()).view(pa.string())
    for inner, expected in ((ids, str(uuid.UUID(bytes=b"\x01" * 16))), (bad, "a\ufffd")):
        one = pa.array([0, 1, 2], pa.int32())
        whole = {
            "list": (pa.ListArray.from_arrays(one, inner), [[expected], [None]]),
            "struct": (
                pa.StructArray.from_arrays([inner], ["x"]),
                [{"x": expected}, {"x": None}],
            ),
            "map": (
                pa.MapArray.from_arrays(one, pa.array(["k", "k"]), inner),
                [[("k", expected)], [("k", None)]],
            ),
        }
        column, values = whole[wrap]
        made = kept(column, held_as(column.type))
        made.validate(full=True)
        assert made.to_pylist() == values


def test_a_kept_struct_has_nulls_where_other_shards_alone_have_a_field() -> None:
    held = pa.struct([("b", pa.float64()), ("a", pa.string()), ("c", pa.list_(pa.string()))])
    column = pa.array(
        [{"a": "x", "b": 1}, None], pa.struct([("a", pa.string_view()), ("b", pa.int8())])
    )
    assert kept(column, held).to_pylist() == [{"b": 1.0, "a": "x", "c": None}, None]


def test_json_is_kept_as_its_text() -> None:
    column = pa.array(['{"stars": 5}', None], pa.json_(pa.string()))
    assert kept(as_stored(column), held_as(column.type)).to_pylist() == ['{"stars": 5}', None]
