"""What is counted of records that were asked several times."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from medsent.labels import LABELS
from medsent.reducer.pairs import Pair
from medsent.reducer.repeats import Repetition
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, batch, random_rows

VARIANTS = ("baseline", "candidate")
CELLS = ("tp", "fp", "fn", "tn")
SCOPE = Scope.of(VARIANTS, LABELS, pairs=[VARIANTS])


def test_flips_are_the_labels_that_were_not_the_same_each_time() -> None:
    gold = np.zeros((4, 3), np.int8)
    first = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], np.int8)
    second, third = first.copy(), first.copy()
    second[0] = [0, 1, 0]  # two labels of one record
    third[1] = [1, 0, 1]
    third[2] = [0, 1, 1]  # of no usable answer, which counts for nothing
    statuses = (["ok"] * 4, ["ok"] * 4, ["ok", "ok", "truncated", "ok"])
    scope = Scope.of(["v"], ["label 0", "label 1", "label 2"])
    counted = Repetition(scope, 3)
    counted.add(
        [
            batch(gold, {"v": Answers(labels, status)})
            for labels, status in zip((first, second, third), statuses, strict=True)
        ]
    )
    found = counted.variants["v"]
    assert found.flips.tolist() == [1, 1, 1]
    assert (found.answered, found.flipped, found.sometimes) == (3, 2, 1)
    assert counted.records == 4


def test_flips_are_of_the_labels_that_thresholds_make() -> None:
    gold = np.zeros((3, 1), np.int8)
    none = np.zeros((3, 1), np.int8)
    given = (np.float32([[0.29], [0.31], [0.9]]), np.float32([[0.31], [0.32], [0.4]]))
    counted = Repetition(Scope.of(["v"], ["label 0"], thresholds={"v": {"label 0": 0.3}}), 2)
    counted.add([batch(gold, {"v": Answers(none, probabilities=each)}) for each in given])
    assert counted.variants["v"].flips.tolist() == [1]


@pytest.mark.parametrize("parts", [1, 3])
def test_counts_of_each_time_are_those_of_a_report_on_it(parts: int) -> None:
    times = [random_rows(seed, 60, 0.1, 0.4, 0.2) for seed in (1, 2)]
    scored = np.asarray(times[0]["outcome"].to_pylist()) == "scored"
    scored &= np.asarray(times[1]["outcome"].to_pylist()) == "scored"
    times = [each.filter(scored) for each in times]
    # The gold is of the records, not of who asked.
    gold = times[0].schema.get_field_index("gold")
    times[1] = times[1].set_column(gold, "gold", times[0]["gold"])
    counted = Repetition(SCOPE, 2)
    edges = np.linspace(0, scored.sum(), parts + 1).astype(int)
    for start, end in pairwise(edges):
        counted.add([each.slice(start, end - start) for each in times])
    for index, each in enumerate(times):
        state = reduce_batches([each], SCOPE)
        pair: Pair = state.pairs[ALL][VARIANTS]
        for name in VARIANTS:
            assert counted.variants[name].counts[index] == state.slices[ALL][name]
        sides = zip(counted.pairs[VARIANTS][index], (pair.baseline, pair.candidate), strict=True)
        for mine, theirs in sides:
            assert all((getattr(mine, n) == getattr(theirs, n)).all() for n in CELLS)
            assert mine.rows == theirs.rows


def test_a_route_counts_each_variant_on_the_records_that_it_was_asked_about() -> None:
    rows = random_rows(5, 40, 0.1, 0.4, 0.0)
    rows = rows.filter(np.asarray(rows["outcome"].to_pylist()) == "scored")
    asked = np.arange(rows.num_rows) % 2 == 0
    place = rows.schema.get_field_index("candidate")
    column = pc.if_else(pa.array(asked), rows["candidate"], None)
    rows = rows.set_column(place, rows.schema.field(place), column)
    counted = Repetition(Scope.of(VARIANTS, LABELS, route=("candidate", "baseline")), 2)
    counted.add([rows, rows])
    found = counted.variants["candidate"]
    assert found.answered == sum(found.counts[0].statuses.values()) == asked.sum()
    assert (found.flipped, found.sometimes) == (0, 0)
