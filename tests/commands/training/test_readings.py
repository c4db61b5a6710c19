"""Reading labelled shards for training, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.commands.training.readings import Readings, SimilarLengths
from medsent.config.labels import LABELS
from medsent.config.personas import load_personas
from medsent.errors import InputError

PERSONAS = load_personas(None)


def _write(folder: Path, rows: list[dict[str, Any]]) -> str:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-00000.parquet")
    return str(folder)


def _row(opinion: str = "o1", **changes: Any) -> dict[str, Any]:
    row = {
        "record_id": "r",
        "opinion_id": opinion,
        "text": f"Text of {opinion}.",
        "language": "en",
        "persona": "surgeon",
        "labels": dict.fromkeys(LABELS, 0),
    }
    return row | changes


def test_an_opinion_stands_once_with_all_its_readers(tmp_path: Path) -> None:
    gold = {**dict.fromkeys(LABELS, 0), "anger": 1, "funny": -1}
    rows = [_row("a"), _row("b"), _row("a", persona=None, labels=gold)]
    readings = Readings.read(_write(tmp_path / "d", rows), {}, PERSONAS, LABELS)
    assert [o.opinion_id for o in readings.opinions] == ["a", "b"]
    assert readings.opinions[0].personas == ["surgeon", None]
    own = dict(zip(LABELS, readings.opinions[0].gold[1], strict=True))
    assert own["anger"] == 1
    assert own["calm"] == 0
    assert np.isnan(own["funny"])
    assert readings.records == 3


def test_unusable_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [_row("a"), _row("b", text=" "), _row("c", persona="nobody"), _row("d", labels=None)]
    readings = Readings.read(_write(tmp_path / "d", rows), {}, PERSONAS, LABELS)
    assert [o.opinion_id for o in readings.opinions] == ["a"]
    assert readings.unusable == 3
    with pytest.raises(InputError, match="none of 3 rows"):
        Readings.read(_write(tmp_path / "d", rows[1:]), {}, PERSONAS, LABELS)


def test_unlabelled_shards_are_refused(tmp_path: Path) -> None:
    rows = [{k: v for k, v in _row().items() if k != "labels"}]
    with pytest.raises(InputError, match="labels"):
        Readings.read(_write(tmp_path / "d", rows), {}, PERSONAS, LABELS)


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        Readings.read(str(tmp_path / "nowhere"), {}, PERSONAS, LABELS)


def test_two_texts_under_one_id_are_refused(tmp_path: Path) -> None:
    rows = [_row("a"), _row("a", text="Another text.")]
    with pytest.raises(InputError, match="opinion a has more than one text"):
        Readings.read(_write(tmp_path / "d", rows), {}, PERSONAS, LABELS)


def test_columns_are_mapped(tmp_path: Path) -> None:
    row = _row("a")
    row["comment"] = row.pop("text")
    readings = Readings.read(_write(tmp_path / "d", [row]), {"text": "comment"}, PERSONAS, LABELS)
    assert readings.opinions[0].text == "Text of a."


def test_an_opinion_in_both_splits_is_refused(tmp_path: Path) -> None:
    train = Readings.read(_write(tmp_path / "t", [_row("a"), _row("b")]), {}, PERSONAS, LABELS)
    other = Readings.read(_write(tmp_path / "v", [_row("b"), _row("c")]), {}, PERSONAS, LABELS)
    with pytest.raises(InputError, match=r"1 opinions are in both .*\(one is b\)"):
        train.refuse_overlap(other)
    train.refuse_overlap(Readings.read(_write(tmp_path / "w", [_row("c")]), {}, PERSONAS, LABELS))


def test_a_text_of_validation_under_another_id_is_not_trained_on(tmp_path: Path) -> None:
    text = "The nurse came at once and explained what she was going to do."
    rows = [_row("a", text=text), _row("b"), _row("c", text="Short.")]
    copies = [_row("v", text=f" {text.upper()}"), _row("w", text="Short.")]
    train = Readings.read(_write(tmp_path / "t", rows), {}, PERSONAS, LABELS)
    validation = Readings.read(_write(tmp_path / "v", copies), {}, PERSONAS, LABELS)
    left = train.without_texts_of(validation)
    assert [o.opinion_id for o in left.opinions] == ["b", "c"]
    whole = validation.without_texts_of(train.first(0))
    assert whole.digest() == validation.digest()
    with pytest.raises(InputError, match=r"texts of all its opinions are in .* split by text"):
        train.first(1).without_texts_of(validation)


def test_the_digest_tells_any_change(tmp_path: Path) -> None:
    def digest(row: dict[str, Any]) -> str:
        return Readings.read(_write(tmp_path / "d", [row]), {}, PERSONAS, LABELS).digest()

    changes: list[dict[str, Any]] = [
        {},
        {"text": "Another."},
        {"persona": None},
        {"language": "pl"},
        {"labels": {**dict.fromkeys(LABELS, 0), "anger": -1}},
    ]
    assert len({digest(_row(**change)) for change in changes}) == len(changes)
    assert digest(_row()) == digest(_row(record_id="other"))


def test_first_takes_the_first(validation: Readings) -> None:
    assert validation.first(3).opinions == validation.opinions[:3]


def test_each_epoch_orders_all_opinions_anew(validation: Readings) -> None:
    sampler = SimilarLengths(validation, 3, seed=5)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert orders[0] == orders[2] != orders[1]
    lengths = [len(o.text) for o in validation.opinions]
    whole = [sorted(lengths[i] for i in orders[0][n : n + 3]) for n in (0, 3)]
    assert min(whole)[-1] <= max(whole)[0]  # alike in length: the batches do not interleave


def test_languages_are_read_as_a_job_reads_them(tmp_path: Path) -> None:
    rows = [_row("a", language="pl-PL"), _row("b", language="Polish"), _row("c", language="xx")]
    folder = _write(tmp_path / "d", rows)
    read = Readings.read(folder, {}, PERSONAS, LABELS, {"en", "pl"}).opinions
    assert [opinion.language for opinion in read] == ["pl", "pl", "xx"]


def test_gold_of_another_kind_is_refused(tmp_path: Path) -> None:
    rows = [_row(name, labels=dict.fromkeys(LABELS, 0.4)) for name in "abc"]
    with pytest.raises(InputError, match="3 have gold votes that are no whole numbers") as caught:
        Readings.read(_write(tmp_path / "d", rows), {}, PERSONAS, LABELS)
    assert "write these into the shards" in str(caught.value)
    assert "input." not in str(caught.value)
