"""The runs that repeat another, and the records that all of them have scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.errors import RunError
from medsent.runs.folder import RunFolder
from medsent.runs.repeats import records_of_all, repeat_name, repeats_of
from tests.predicted import Answers, batch


def run_at(folder: Path, blocks: dict[str, tuple[list[int], list[str]]]) -> RunFolder:
    """Write a run of blocks, each of rows by their hashes, with the readers of each row."""
    (folder / "predictions").mkdir(parents=True)
    for name, (hashes, personas) in blocks.items():
        labels = np.array([[h % 2] for h in hashes], np.int8)
        columns: dict[str, list[Any]] = {"row_hash": hashes, "persona": personas}
        if name == "some":
            columns["outcome"] = ["quarantined" if h == 7 else "scored" for h in hashes]
            columns["reason"] = ["too_long" if h == 7 else None for h in hashes]
        rows = batch(labels, {"v": Answers(labels)}, columns)
        pq.write_table(pa.Table.from_batches([rows]), folder / f"predictions/{name}.parquet")
    return RunFolder(folder)


def read(runs: list[RunFolder], rows: int = 100) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = [[] for _ in runs]
    for batches in records_of_all(runs, ["gold", "v.status"], rows):
        for mine, each in zip(found, batches, strict=True):
            mine += each.to_pylist()
    return found


def test_repeats_are_the_runs_of_the_same_fingerprint_in_their_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "my.job-0123456789ab")
    assert repeats_of(run) == []
    names = [f"{repeat_name('my.job', n)}-0123456789ab" for n in (10, 2)]
    others = (
        "my.job-repeat-1-0123456789ab",
        "my.job-repeat-02-0123456789ab",
        "my.job-repeat-2-ffffffffffff",
        "my.job-repeat-x-0123456789ab",
        "myxjob-repeat-2-0123456789ab",
    )
    for name in (run.path.name, *names, *others):
        (tmp_path / name).mkdir()
    assert [each.path.name for each in repeats_of(run)] == names[::-1]
    assert repeats_of(RunFolder(tmp_path / names[0])) == []


def test_records_come_in_one_order_however_each_run_wrote_them(tmp_path: Path) -> None:
    every = {"a-000000": ([3, 1, 2, 2], ["x", "x", "x", "y"]), "b-000000": ([9], ["x"])}
    mixed = {"a-000000": ([2, 2, 3, 1], ["y", "x", "x", "x"]), "b-000000": ([9], ["x"])}
    runs = [run_at(tmp_path / name, each) for name, each in (("1", every), ("2", mixed))]
    first, second = read(runs)
    assert first == second
    assert sorted((row["row_hash"], row["persona"]) for row in first) == [
        (1, "x"),
        (2, "x"),
        (2, "y"),
        (3, "x"),
        (9, "x"),
    ]
    assert [len(batches[0]) for batches in records_of_all(runs, ["gold"], 4)] == [4, 1]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    runs = [run_at(tmp_path / name, {"a-000000": ([1, 2], ["x"] * 2)}) for name in "12"]
    file = tmp_path / "2/predictions/a-000000.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"2/predictions/a-000000\.parquet cannot be read"):
        read(runs)


def test_records_that_one_run_lacks_are_left_out(tmp_path: Path) -> None:
    whole = {"some": ([5, 6, 7], ["x"] * 3), "a-000000": ([1, 2], ["x"] * 2)}
    part = {"some": ([5, 7], ["x"] * 2)}
    runs = [run_at(tmp_path / name, each) for name, each in (("1", whole), ("2", part))]
    assert [row["row_hash"] for row in read(runs)[0]] == [5]
    assert read([runs[0], run_at(tmp_path / "3", {})]) == [[], []]
