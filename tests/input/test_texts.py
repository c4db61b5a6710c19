"""Texts are recognised under another id, however they were typed."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.config.job import InputSettings
from medsent.config.labels import LABELS
from medsent.input.shards import open_shards
from medsent.input.texts import LEAST, NO_TEXT, recognisable, text_hashes, texts_of

TEXT = "Doktor wysłuchał mnie, wszystko wyjaśnił i niczego nie przyspieszał."


def same(*texts: str | None) -> list[str | None]:
    return list(recognisable(pa.array(texts, pa.string())).to_pylist())


@pytest.mark.parametrize(
    "copy",
    [
        TEXT.upper(),
        f"  {TEXT}\n",
        TEXT.replace(" ", "\u00a0 \t"),
        TEXT.replace(",", " –").replace(".", "!!!"),
        f"„{TEXT}”",
        TEXT.replace("ł", "ł\u00ad"),  # a soft hyphen
        TEXT.replace("ś", "s\u0301"),  # composed otherwise
        TEXT.replace("Doktor", "Ｄｏｋｔｏｒ"),
        TEXT + "\u200b\ufeff",
    ],
)
def test_the_same_text(copy: str) -> None:
    assert copy != TEXT
    first, second = same(TEXT, copy)
    assert first == second is not None


@pytest.mark.parametrize("other", [TEXT.replace("nie ", ""), TEXT + " 😡", TEXT + " 2"])
def test_another_text(other: str) -> None:
    assert len(set(same(TEXT, other))) == 2


def test_a_folded_case_is_normalised_too() -> None:
    first, second = same("Straße " * 8, "STRASSE " * 8)
    assert first == second == ("strasse " * 8).strip()
    first, second = same("\u1fb4 " * 30, "\u1fb4 ".upper() * 30)
    assert first == second


def test_short_and_missing_texts_are_not_recognised() -> None:
    short, just = "a" * (LEAST - 1), "a" * LEAST
    assert same(short, just, None, "…" * LEAST) == [None, just, None, None]


def test_a_hash_is_by_its_key() -> None:
    texts = recognisable(pa.array([TEXT, TEXT.upper(), None, TEXT + " 2"], pa.string()))
    by_one, by_another = text_hashes(texts, "one"), text_hashes(texts, "another")
    assert by_one[0] == by_one[1] != by_one[3]
    assert by_one[2] == by_another[2] == NO_TEXT
    assert by_one[0] != by_another[0]
    assert text_hashes(texts, "k" * 200).shape == (4,)


def test_texts_of_some_opinions(tmp_path: Path) -> None:
    for number, ids in enumerate((["a", "a", "b"], ["c", "b", "a"])):
        rows = {
            "record_id": ["1", "2", "3"],
            "opinion_id": ids,
            "text": [f"{TEXT} ({name})" for name in ids[:2]] + [None],
            "language": ["pl"] * 3,
            "persona": pa.nulls(3, pa.string()),
        }
        pq.write_table(pa.table(rows), tmp_path / f"{number}.parquet")
    shards = open_shards(InputSettings(path=str(tmp_path)), LABELS)
    (tmp_path / "1.parquet").unlink()  # what cannot be read is passed over
    found = pa.concat_tables(texts_of(shards, pa.array(["a", "b", "x"])))
    [of_a] = recognisable(pa.array([f"{TEXT} (a)"])).to_pylist()
    assert sorted(found.to_pylist(), key=str) == [
        {"opinion_id": "a", "text": of_a},
        {"opinion_id": "b", "text": None},
    ]
