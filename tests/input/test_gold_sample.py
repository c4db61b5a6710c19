"""Gold that could be misread is refused before anything is scored, and a slip is told."""

from typing import Any

import pyarrow as pa
import pytest

from medsent.config.labels import LABELS
from medsent.errors import InputError
from medsent.input.gold_sample import GoldSample, sample_gold
from tests.input.reading import opened, rows, written

VOTES = pa.struct([(label, pa.float32()) for label in LABELS])


def votes(*of_anger: Any) -> pa.Array:
    return pa.array([dict.fromkeys(LABELS, 0) | {"anger": vote} for vote in of_anger], VOTES)


def names(*lists: list[str] | None) -> pa.Array:
    return pa.array(lists, pa.list_(pa.string()))


def sampled(gold: pa.Array | None, **settings: Any) -> GoldSample:
    columns = {} if gold is None else {"labels": gold}
    with written([rows(2 if gold is None else len(gold), **columns)]) as folder:
        return sample_gold(opened(folder, **settings))


@pytest.mark.parametrize(
    ("gold", "told"),
    [
        (votes(0.1, 0.4, 1.0), "2 have gold votes that are no whole numbers, as shares of"),
        (votes(1, 7, 10), "2 have gold votes above 1, as counts, grades or class ids are"),
        (votes(0.1, 50.0, 33.5), "have gold votes"),
        (names(["embarrassing"], ["calm"]), "1 name what is no label of the job: "
         "'embarrassing' (is it embarassing?)"),
        (names(["Anger", "calm"], ["calm"]), "'Anger' (is it anger?)"),
        (names(["3"], ["7"]), "2 name what is no label of the job; the labels are positive, "),
    ],
)  # fmt: skip
def test_gold_of_another_kind_is_refused(gold: pa.Array, told: str) -> None:
    with pytest.raises(InputError) as caught:
        sampled(gold).refuse()
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"input.path: of {len(gold)} rows that were looked at")
    assert "input.columns.labels to null" in str(caught.value)


def test_a_name_that_is_no_label_is_quoted_only_where_it_is_near_one() -> None:
    """A column of something else, mapped by mistake, may hold a patient's words."""
    with pytest.raises(InputError) as caught:
        sampled(names(["MARKER of a text"], ["calm"])).refuse()
    assert "MARKER" not in str(caught.value)


def test_a_cut_makes_votes_of_shares_and_is_said() -> None:
    gold = sampled(votes(0.1, 0.4, 1.0), gold_cut=0.4)
    gold.refuse()
    assert not list(gold.cautions())
    assert gold.told() == (
        "3 of 3 records that were looked at have it; a vote from 0.4 on is a yes (input.gold_cut)"
    )


def test_a_slip_is_told_and_not_refused() -> None:
    gold = sampled(votes(*[1.0] * 19, 0.5))
    gold.refuse()
    [told] = gold.cautions()
    assert "of 20 rows that were looked at 1 have gold votes that are no whole numbers" in told
    assert "quarantined as bad_labels" in told


@pytest.mark.parametrize(
    "gold", [names([], []), names(None, None), votes(0, 0), votes(-1, None), pa.nulls(2)]
)
def test_a_file_whose_labels_all_come_out_empty_is_told(gold: pa.Array) -> None:
    found = sampled(gold)
    found.refuse()
    [told] = found.cautions()
    assert told.startswith("no record that was looked at has a label in 1 of the shards (")
    assert "0.parquet" in told


def test_without_gold_that_is_said() -> None:
    none = sampled(None)
    none.refuse()
    assert (none.told(), list(none.cautions())) == ("none, so that the report has no F1", [])
    with written([rows(2, anger=pa.array([0, 1]), fear=pa.array([0, 1]))]) as folder:
        few = sample_gold(opened(folder))
    assert few.told().endswith("; fear, anger alone of the labels have a column, which is no gold")
