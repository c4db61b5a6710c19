"""Columns of predictions: matrices into structs of labels and back."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from medsent.predictions import gold_type, label_matrix, label_struct, prediction_type
from medsent.predictions.arrays import probability_matrix

LABELS = ("joy", "anger", "fear")
GOLD = np.array([[1, 0, -1], [-1, -1, -1], [0, 0, 1]], np.int8)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [slice(0, 3), slice(0, 0), slice(None, None, 2)])
def test_gold_and_labels_come_back(rows: slice, order: Any) -> None:
    values = np.array(GOLD, order=order)[rows]
    for kind in (gold_type(LABELS), prediction_type(LABELS).field("labels").type):
        made = label_struct(values, values < 0, kind)
        made.validate(full=True)
        assert made.type == kind
        assert label_matrix(made, "").tolist() == values.tolist()


def test_a_row_without_any_value_is_null() -> None:
    made = label_struct(GOLD, GOLD < 0, gold_type(LABELS)).to_pylist()
    assert made == [{"joy": 1, "anger": 0, "fear": None}, None, {"joy": 0, "anger": 0, "fear": 1}]


def test_probabilities_come_back() -> None:
    values: npt.NDArray[np.float64] = np.array([[0.25, 1.0, np.nan], [np.nan] * 3])
    kind = prediction_type(LABELS).field("probabilities").type
    made = label_struct(values, np.isnan(values), kind)
    column = pa.StructArray.from_arrays([made], ["probabilities"])
    np.testing.assert_array_equal(probability_matrix(column), values.astype(np.float32))
    assert made.null_count == 1
