"""Gold labels in their three forms give one matrix."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.config.labels import LABELS
from medsent.errors import InputError
from medsent.input.gold import MISSING, gold_matrix, read_gold

FIVE = ("ból", "wdzięczność", "złość", "no fear", "x.y")
SIXTY = tuple(f"label {number}" for number in range(60))
KINDS = [
    pa.list_(pa.string()),
    pa.large_list(pa.large_string()),
    pa.list_(pa.dictionary(pa.int8(), pa.string())),
    pa.large_list(pa.string_view()),
    pa.list_(pa.binary()),
    pa.list_view(pa.string()),
]


def struct_table(rows: list[Any], kind: pa.DataType, labels: tuple[str, ...] = LABELS) -> pa.Table:
    return pa.table({"labels": pa.array(rows, pa.struct([(label, kind) for label in labels]))})


@pytest.mark.parametrize("labels", [LABELS, FIVE, SIXTY, ("only",)])
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_the_three_forms_agree(
    labels: tuple[str, ...], data: st.DataObject, kind: pa.DataType
) -> None:
    names = st.lists(st.sampled_from(labels), unique=True, max_size=5)
    rows = data.draw(st.lists(st.none() | names, max_size=6))
    expected = np.array(
        [[MISSING if r is None else int(label in r) for label in labels] for r in rows], np.int8
    ).reshape(-1, len(labels))
    by_name = [None if r is None else {label: int(label in r) for label in labels} for r in rows]
    stored = [
        r and [n.encode() if pa.types.is_binary(kind.value_type) else n for n in r] for r in rows
    ]
    named = pa.table({"labels": pa.array(stored, kind)})
    wide = {label: [None if r is None else r[label] for r in by_name] for label in labels}
    for table in (
        named,
        struct_table(by_name, pa.int64(), labels),
        pa.table({label: pa.array(values, pa.int8()) for label, values in wide.items()}),
    ):
        matrix = gold_matrix(table, labels)
        assert matrix is not None
        assert matrix.dtype == np.int8
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int64(), pa.float32(), pa.float16(), pa.decimal128(38, 0)]
)
def test_votes(kind: pa.DataType) -> None:
    votes = [1, 0, None, -1, -7]
    rows = [dict.fromkeys(LABELS, 0) | {"anger": vote} for vote in votes]
    matrix = gold_matrix(struct_table(rows, kind), LABELS)
    assert matrix is not None
    assert matrix[:, LABELS.index("anger")].tolist() == [1, 0, -1, -1, -1]
    assert (np.delete(matrix, LABELS.index("anger"), axis=1) == 0).all()


def test_a_vote_may_be_a_truth_or_of_any_width() -> None:
    for kind, votes in ((pa.bool_(), [True, False]), (pa.uint64(), [1, 0])):
        matrix = gold_matrix(
            struct_table([dict.fromkeys(FIVE, v) for v in votes], kind, FIVE), FIVE
        )
        assert matrix is not None
        assert matrix.tolist() == [[1] * 5, [0] * 5]


@pytest.mark.parametrize("fraction", [0.1, -0.5, 1.5, 2.0, 10.0, float("inf"), float("-inf")])
@pytest.mark.parametrize("wide", [False, True])
def test_a_vote_that_is_neither_yes_nor_no_makes_its_row_wrong(fraction: float, wide: bool) -> None:
    rows = [dict.fromkeys(FIVE, 1.0) | {FIVE[1]: vote} for vote in (0.0, fraction, None)]
    votes = {label: pa.array([row[label] for row in rows]) for label in FIVE}
    table = pa.table(votes) if wide else struct_table(rows, pa.float64(), FIVE)
    matrix, wrong = read_gold(table, FIVE)
    assert matrix is not None
    assert wrong.tolist() == [False, True, False]
    assert matrix.tolist() == [[1, 0, 1, 1, 1], [MISSING] * 5, [1, MISSING, 1, 1, 1]]
    with pytest.raises(InputError, match=r"row 1: .* or a vote is neither 0 nor 1"):
        gold_matrix(table, FIVE)


def test_a_struct_that_is_null_is_missing() -> None:
    matrix = gold_matrix(struct_table([None, dict.fromkeys(FIVE, False)], pa.bool_(), FIVE), FIVE)
    assert matrix is not None
    assert matrix.tolist() == [[MISSING] * 5, [0] * 5]


def test_a_name_that_is_no_utf8_is_no_label() -> None:
    for kind in (pa.binary(), pa.string()):
        names = pa.array([b"anger", b"\xff"], pa.binary()).view(kind)
        table = pa.table({"labels": pa.ListArray.from_arrays([0, 1, 2], names)})
        assert read_gold(table, LABELS)[1].tolist() == [False, True]


def test_lists_of_one_size_may_be_null() -> None:
    table = pa.table({"labels": pa.array([["anger"], None, ["calm"]], pa.list_(pa.string(), 1))})
    matrix = gold_matrix(table, ("anger", "calm"))
    assert matrix is not None
    assert matrix.tolist() == [[1, 0], [MISSING, MISSING], [0, 1]]


def test_not_a_number_is_missing() -> None:
    rows = [dict.fromkeys(LABELS, float("nan"))]
    matrix = gold_matrix(struct_table(rows, pa.float64()), LABELS)
    assert (matrix == MISSING).all()


def test_order_of_fields_does_not_matter() -> None:
    fields = [(label, pa.int8()) for label in reversed(LABELS)]
    row = {label: int(label == "fear") for label in LABELS}
    matrix = gold_matrix(pa.table({"labels": pa.array([row], pa.struct(fields))}), LABELS)
    assert matrix is not None
    assert [LABELS[i] for i in np.flatnonzero(matrix[0])] == ["fear"]


def test_more_fields_than_labels_are_passed_over() -> None:
    """Gold of the 21 labels serves a job of five of them."""
    some = ("anger", "calm", "fear", "more", "funny")
    rows = [{label: int(label == "calm") for label in LABELS}]
    matrix = gold_matrix(struct_table(rows, pa.int8()), some)
    assert matrix is not None
    assert matrix.tolist() == [[0, 1, 0, 0, 0]]


def test_rows_without_labels() -> None:
    assert gold_matrix(pa.table({"text": ["a"]}), LABELS) is None
    assert gold_matrix(pa.table({"labels": pa.nulls(2)}), LABELS) is None
    assert gold_matrix(pa.table({label: [1] for label in LABELS[:-1]}), LABELS) is None


def test_rows_that_name_no_label_are_found() -> None:
    rows = [["anger"], ["wrath", "anger"], None, [None], []]
    table = pa.table({"labels": pa.array(rows, pa.list_(pa.string()))})
    matrix, unknown = read_gold(table, LABELS)
    assert matrix is not None
    assert unknown.tolist() == [False, True, False, True, False]
    assert (matrix[[1, 2, 3]] == MISSING).all()
    assert matrix[0].sum() == 1
    assert matrix[4].sum() == 0
    with pytest.raises(InputError, match="row 1") as caught:
        gold_matrix(table, LABELS)
    assert "wrath" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array(["anger"]), "column 'labels' is string"),
        (pa.array([{"anger": 1}]), "no field 'positive'"),
        (pa.array([dict.fromkeys(LABELS, "yes")]), "values are string"),
    ],
)
def test_other_types_are_refused(column: pa.Array, told: str) -> None:
    with pytest.raises(InputError, match=told):
        gold_matrix(pa.table({"labels": column}), LABELS)


@pytest.mark.parametrize(
    ("kind", "cut", "votes", "expected"),
    [
        (pa.float32(), 0.5, [0.0, 0.25, 0.5, 1.0, None, -1.0], [0, 0, 1, 1, -1, -1]),
        (pa.int8(), 6, [0, 5, 6, 10, None, -1], [0, 0, 1, 1, -1, -1]),
        (pa.bool_(), 6, [False, True, None], [0, 1, -1]),
    ],
)
def test_with_a_cut_a_vote_from_it_on_is_a_yes(
    kind: pa.DataType, cut: float, votes: list[Any], expected: list[int]
) -> None:
    table = struct_table([dict.fromkeys(FIVE, vote) for vote in votes], kind, FIVE)
    matrix, wrong = read_gold(table, FIVE, cut)
    assert matrix is not None
    assert matrix[:, 0].tolist() == expected
    assert not wrong.any()


def test_no_cut_makes_a_vote_of_infinity() -> None:
    table = struct_table([dict.fromkeys(FIVE, float("inf"))], pa.float64(), FIVE)
    assert read_gold(table, FIVE, 0.5)[1].tolist() == [True]
