"""What is left of an opinion is found wherever it stands."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.erasures.traces import traces

WORD = "patient-0123"


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("patient-9999")
    pq.write_table(pa.table({"opinion_id": ["patient-9999"]}), tmp_path / "a.parquet")
    assert list(traces(tmp_path, [WORD])) == []


@pytest.mark.parametrize(
    "column",
    [
        pa.array([f"id {WORD}"] * 500),
        pa.array([None, WORD], pa.large_string()),
        pa.array([{"answer": WORD, "labels": {"fear": 1}}]),
    ],
)
def test_it_is_found_in_compressed_columns(column: pa.Array, tmp_path: Path) -> None:
    table = pa.table({"c": column})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", write_statistics=False)
    assert list(traces(tmp_path, [WORD, "other"])) == [f"a.parquet: {WORD} (1 in all)"]


def test_it_is_found_in_text_and_in_names(tmp_path: Path) -> None:
    (tmp_path / f"{WORD}.txt").touch()
    (tmp_path / "log.jsonl").write_text(f'{{"said": "{WORD}"}}')
    assert len(list(traces(tmp_path, [WORD]))) == 2
