"""Opinions that thresholds were tuned on are found in an input and in a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.config.input import InputSettings
from medsent.config.labels import LABELS
from medsent.demo.data import SPLITS
from medsent.errors import ConfigError
from medsent.input.records import ids_of
from medsent.input.shards import open_shards
from medsent.input.texts import recognisable, text_hashes
from medsent.metrics.leakage import refuse_input, refuse_run
from medsent.metrics.statistics.thresholds import (
    TunedOn,
    hash_opinions,
    hashed_opinions,
    hashed_texts,
    read_thresholds,
)
from tests import predicted

TAGS = pa.list_(pa.string())
ADAPTER = Path(__file__).parents[2] / "medsent" / "demo" / "adapter"

Written = Callable[..., Path]


def tuned_on(*opinion_ids: str) -> dict[str, TunedOn]:
    made = TunedOn(
        data_digest="d",
        opinions=len(opinion_ids),
        records=len(opinion_ids),
        opinion_hashes=hashed_opinions(opinion_ids),
    )
    return {"cuts.json": made}


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes shards of four labelled rows each, of opinions a, b, c, d; None takes a column out."""

    def write(*shards: dict[str, Any], row_group_size: int = 2) -> Path:
        for number, columns in enumerate(shards or ({},)):
            table = {
                "record_id": pa.array([f"r{i}" for i in range(4)]),
                "opinion_id": pa.array(["a", "b", "c", "d"]),
                "text": pa.array([f"text {i}" for i in range(4)]),
                "language": pa.array(["en"] * 4),
                "persona": pa.array([None] * 4, pa.string()),
                "labels": pa.array([["anger"], [], ["calm"], []], TAGS),
                **columns,
            }
            kept = {name: column for name, column in table.items() if column is not None}
            pq.write_table(
                pa.table(kept), tmp_path / f"{number}.parquet", row_group_size=row_group_size
            )
        return tmp_path

    return write


LONG = [
    f"The nurse number {i} came at once and explained what she was going to do." for i in range(4)
]


def tuned_on_texts(digest: str, **opinions: str) -> dict[str, TunedOn]:
    """Return what a file says that was tuned on opinions with these texts."""
    texts = text_hashes(recognisable(pa.array(opinions.values(), pa.string())), digest)
    ids, hashed = hashed_texts(list(opinions), texts)
    made = TunedOn(
        data_digest=digest,
        opinions=len(opinions),
        records=len(opinions),
        opinion_hashes=ids,
        text_hashes=hashed,
    )
    return {f"{digest}.json": made}


def refuse(path: Path, tuned: dict[str, TunedOn], **settings: Any) -> None:
    refuse_input(open_shards(InputSettings(path=str(path), **settings), LABELS), tuned)


def hash_of(text: str) -> str:
    """Return the opinion_id of an opinion that has none."""
    [made] = ids_of(pa.table({"text": [text]})).to_pylist()
    return str(made)


def test_opinions_tuned_on_are_counted_over_all_shards(written: Written) -> None:
    folder = written({}, {"opinion_id": pa.array(["d", "e", "e", "f"])})
    with pytest.raises(ConfigError) as caught:
        refuse(folder, tuned_on("a", "d", "e", "x", "y"))
    assert "cuts.json was tuned on opinions of this input: 3 of its 5 have gold" in str(
        caught.value
    )
    assert "tune on other opinions" in str(caught.value)
    assert "leave `thresholds` out" in str(caught.value)


def test_gold_that_is_cut_is_gold(written: Written) -> None:
    shares = pa.array([dict.fromkeys(LABELS, share) for share in (0.3, 0.7, None, 0.6)])
    folder = written({"labels": shares})
    with pytest.raises(ConfigError, match="3 of its 4 have gold labels here"):
        refuse(folder, tuned_on("a", "b", "c", "d"), gold_cut=0.5)


def test_others_pass(written: Written) -> None:
    refuse(written(), tuned_on("x", "y"))
    refuse(written(), {})


def test_the_second_file_is_named(written: Written) -> None:
    tuned = {"first.json": tuned_on("x")["cuts.json"], "second.json": tuned_on("b")["cuts.json"]}
    with pytest.raises(ConfigError, match=r"second\.json .*: 1 of its 1 have"):
        refuse(written(), tuned)


def test_a_column_of_another_name_or_of_numbers(written: Written) -> None:
    columns = {"opinion_id": None, "case": pa.array([1, 2, 3, 4], pa.int32())}
    folder = written(columns, {**columns, "case": pa.array([4, 5, 6, 7], pa.int64())})
    with pytest.raises(ConfigError, match="2 of its 3 have"):
        refuse(folder, tuned_on("4", "7", "8"), columns={"opinion_id": "case"})


@pytest.mark.parametrize("ids", [None, pa.nulls(4), pa.nulls(4, pa.string())])
def test_opinions_without_an_id_are_known_by_their_text(written: Written, ids: Any) -> None:
    folder = written({"opinion_id": ids})
    with pytest.raises(ConfigError, match="1 of its 2 have"):
        refuse(folder, tuned_on(hash_of("text 3"), "a"))
    refuse(folder, tuned_on("a", hash_of("text 4")))


def test_a_few_without_an_id(written: Written) -> None:
    folder = written({"opinion_id": pa.array(["a", "b", None, "d"])})
    with pytest.raises(ConfigError, match="2 of its 3 have"):
        refuse(folder, tuned_on("a", "c", hash_of("text 2")))


def test_texts_are_read_only_where_ids_are_missing_or_one_is_found(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[list[int], list[str]]] = []
    iterate = pq.ParquetFile.iter_batches

    def spied(self: Any, size: int, groups: list[int], columns: list[str]) -> Any:
        read.append((groups, columns))
        return iterate(self, size, groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spied)
    refuse(written(), tuned_on("x"))
    assert read == [([0], ["opinion_id"]), ([1], ["opinion_id"])]
    read.clear()
    with pytest.raises(ConfigError):
        refuse(written(), tuned_on("a"))
    assert read[:2] == [([0], ["opinion_id"]), ([1], ["opinion_id"])]
    assert read[2:] == [([0], ["labels", "opinion_id", "text"])]


def test_the_same_text_under_another_id(written: Written) -> None:
    folder = written({"text": pa.array(LONG)}, {"text": pa.array(["Short."] * 4)})
    with pytest.raises(ConfigError) as caught:
        refuse(folder, tuned_on_texts("d", a="Of a.", x=LONG[1].upper(), y=LONG[2] + " Twice."))
    assert "d.json was tuned on opinions of this input: 2 of its 3 have gold labels here, " in str(
        caught.value
    )
    assert "here, 1 of them under another id with the same text, and figures" in str(caught.value)
    refuse(folder, tuned_on_texts("d", x=LONG[0] + " Twice.", y="Short."))


def test_each_file_has_a_key_of_its_own(written: Written) -> None:
    folder = written({"text": pa.array(LONG)})
    tuned = tuned_on_texts("one", x="Another.") | tuned_on_texts("two", y=LONG[3])
    with pytest.raises(ConfigError, match=r"two\.json .*: 1 of its 1 have"):
        refuse(folder, tuned)


def test_texts_without_gold_do_not_count(written: Written) -> None:
    folder = written({"text": pa.array(LONG), "labels": UNLABELLED})
    refuse(folder, tuned_on_texts("d", x=LONG[0], y=LONG[2]))
    with pytest.raises(ConfigError, match="1 of its 2 have"):
        refuse(folder, tuned_on_texts("d", x=LONG[0], y=LONG[1]))


UNLABELLED = pa.array([None, [], None, []], TAGS)
VOTES = {label: pa.array([1, 0, None, -1], pa.int8()) for label in LABELS}


def test_only_opinions_with_gold_count(written: Written) -> None:
    for columns in ({"labels": None}, {"labels": pa.nulls(4)}, {"labels": UNLABELLED}):
        refuse(written(columns), tuned_on("a", "c"))
    with pytest.raises(ConfigError, match="1 of its 3 have"):
        refuse(written({"labels": UNLABELLED}), tuned_on("a", "b", "c"))
    refuse(written(), tuned_on("a"), columns={"labels": None})


def test_gold_of_21_columns(written: Written) -> None:
    folder = written({"labels": None, **VOTES})
    with pytest.raises(ConfigError, match="2 of its 4 have"):
        refuse(folder, tuned_on("a", "b", "c", "d"))


def test_a_shard_that_cannot_be_read_is_left_to_the_job(written: Written) -> None:
    folder = written({}, {})
    settings = InputSettings(path=str(folder))
    shards = open_shards(settings, LABELS)
    (folder / "0.parquet").unlink()
    (folder / "1.parquet").write_bytes(b"PAR1")
    refuse_input(shards, tuned_on("a"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The predictions of opinions a (labelled), b (not) and c (labelled, quarantined)."""
    votes = np.zeros((3, len(LABELS)), np.int8)
    columns = {
        "opinion_id": ["a", "b", "c"],
        "outcome": ["scored", "scored", "quarantined"],
    }
    rows = predicted.batch(votes, {"plain": predicted.Answers(votes)}, columns)
    gold = rows["gold"].filter(pa.array([True, False, True]))
    place = rows.schema.get_field_index("gold")
    table = pa.Table.from_batches([rows])
    without = pa.array([gold[0].as_py(), None, gold[1].as_py()], rows["gold"].type)
    table = table.set_column(place, "gold", without)
    (tmp_path / "predictions").mkdir()
    pq.write_table(table, tmp_path / "predictions" / "0.parquet")
    return tmp_path / "predictions"


def test_a_run_is_refused_for_its_scored_and_labelled_records(run: Path) -> None:
    refuse_run(run, tuned_on("b", "c", "d"))
    refuse_run(run, {})
    with pytest.raises(ConfigError) as caught:
        refuse_run(run, tuned_on("a", "b", "c"))
    assert f"tuned on opinions of {run.parent}: 1 of its 3 have gold" in str(caught.value)
    assert "with other thresholds, or without" in str(caught.value)


@pytest.mark.parametrize("name", ["thresholds.json", "thresholds-baseline.json"])
def test_the_demos_splits_share_no_opinion_with_its_thresholds(name: str) -> None:
    """The demo's own job is not refused; the validation split is."""
    tuned = read_thresholds(ADAPTER / name)
    shared = {
        split: tuned.tuned_on.shared(
            hash_opinions(f"{split}-{i:06d}" for i in range(SPLITS[split].opinions))
        )[0]
        for split in SPLITS
    }
    assert shared == {"train": 0, "validation": 800, "test": 0, "heldout": 0}
