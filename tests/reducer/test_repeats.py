"""What is counted of records that were asked several times."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from medsent.config.labels import LABELS
from medsent.reducer.pairs import Pair
from medsent.reducer.repeats import Repetition, columns_of
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
    counted = Repetition(scope, ("second", "third"))
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
    given = np.array([[[0.29], [0.31], [0.9]], [[0.31], [0.32], [0.4]]], np.float32)
    counted = Repetition(Scope.of(["v"], ["label 0"], thresholds={"v": {"label 0": 0.3}}), ("2",))
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
    counted = Repetition(SCOPE, ("2",))
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
    """The fallback is asked where the candidate's answer cannot be used, so not each time."""
    gold = np.zeros((4, 1), np.int8)
    yes, no = np.ones((4, 1), np.int8), np.zeros((4, 1), np.int8)
    scope = Scope.of(["new", "old"], ["label 0"], route=("new", "old"))
    counted = Repetition(scope, ("2",))
    batches = []
    for lost in ([], [1]):
        asked = {"new": [0, 1], "old": [2, 3, *lost]}
        statuses = ["truncated" if i in lost else "ok" for i in range(4)]
        routed = ["new" if i in (0, 1) and i not in lost else "old" for i in range(4)]
        rows = batch(gold, {"new": Answers(yes, statuses), "old": Answers(no)}, {"routed": routed})
        for name, some in asked.items():
            place = rows.schema.get_field_index(name)
            mine = pa.array([i in some for i in range(4)])
            column = pc.if_else(mine, rows[name], None)
            rows = rows.set_column(place, rows.schema.field(place), column)
        batches.append(rows)
    counted.add(batches)
    found = {
        name: (each.asked, each.answered, each.flipped, each.sometimes)
        for name, each in counted.variants.items()
    }
    assert found == {"new": (2, 1, 0, 1), "old": (2, 2, 0, 0), "routed": (4, 4, 1, 0)}
    assert set(columns_of(scope)) >= {"gold", "routed", "new.labels"}
