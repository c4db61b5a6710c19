"""Every row of the input has one outcome, or the run is not settled, and it says where not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.errors import RunError
from medsent.input.records import row_hashes
from medsent.input.shard import BadShard, Shard
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.scoring.accounting import count, settle

A, B = (Shard(f"/{name}.parquet", 9, "1", 3) for name in "ab")
HASHES = [int(key) for shard in (A, B) for key in row_hashes(shard.path, 0, 3)]


def row(key: int, **changed: Any) -> dict[str, Any]:
    """A scored row: 0, 1 and 2 are of shard a, 3, 4 and 5 of b."""
    return {
        "row_hash": HASHES[key] if key < len(HASHES) else key,
        "record_id": f"r{key}",
        "persona": None,
        "path": (A if key < 3 else B).path,
        "outcome": "scored",
        "reason": None,
        "one": {"attempt": 1},
        "two": {"attempt": 1},
    } | changed


def quarantined(key: int, reason: str) -> dict[str, Any]:
    return row(key, outcome="quarantined", reason=reason, one=None, two=None)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "predictions").mkdir()
    return RunFolder(tmp_path)


def settled(run: RunFolder, rows: list[dict[str, Any]], ledger: Ledger) -> dict[str, Any]:
    """Write rows as two files of predictions, and settle them against a ledger."""
    answer = pa.struct([pa.field("attempt", pa.int32())])
    names = ("record_id", "path", "persona", "outcome", "reason")
    schema = pa.schema(
        [
            ("row_hash", pa.uint64()),
            *((name, pa.string()) for name in names),
            ("one", answer),
            ("two", answer),
        ]
    )
    for name, part in (("x_000000-0", rows[:4]), ("x_000001-0", rows[4:])):
        file = run.predictions / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(part, schema=schema), file)
    plan: Any = SimpleNamespace(due=lambda shard: shard.rows, sample=None, readers=())
    return settle(count(run, ["one", "two"]), ledger, run, plan)


def ledger(*bad: BadShard) -> Ledger:
    left_out = {shard.path for shard in bad}
    return Ledger(
        good={shard.path: shard for shard in (A, B) if shard.path not in left_out},
        bad={shard.path: shard for shard in bad},
    )


def test_rows_are_counted_by_what_became_of_them(run: RunFolder) -> None:
    rows = [
        row(0),
        row(1, record_id="r0"),
        row(2, one={"attempt": 3}, two={"attempt": 2}),
        quarantined(3, "empty_text"),
        quarantined(4, "engine_killer"),
        quarantined(5, "empty_text"),
    ]
    assert settled(run, rows, ledger()).model_dump() == {
        "input": 6,
        "scored": 3,
        "quarantined": 3,
        "by_reason": {"empty_text": 2, "engine_killer": 1},
        "duplicate_record_ids": 1,
        "retries": 3,
    }


@pytest.mark.parametrize(("scored", "left"), [([], 3), ([3], 2)], ids=["none", "a part"])
def test_rows_of_a_bad_shard_are_quarantined(run: RunFolder, scored: list[int], left: int) -> None:
    """Those that were scored before it was found to be bad stay scored."""
    bad = BadShard(B.path, 9, "1", 3, "corrupt_page", "damaged")
    made = settled(run, [row(key) for key in (0, 1, 2, *scored)], ledger(bad))
    assert (made.input, made.scored) == (6, 3 + len(scored))
    assert made.by_reason == {"bad_shard": left}


def test_a_bad_shard_of_unknown_rows_counts_none(run: RunFolder) -> None:
    bad = BadShard(B.path, 9, "1", None, "not_parquet", "no Parquet")
    made = settled(run, [row(key) for key in range(3)], ledger(bad))
    assert (made.input, made.scored, made.quarantined) == (3, 3, 0)


@pytest.mark.parametrize(
    ("keys", "differs"),
    [
        ((0, 1, 2, 3, 4), r"/b\.parquet has 3 records and 2 outcomes"),
        ((0, 1, 2), r"/b\.parquet has 3 records and 0 outcomes"),
        ((0, 1, 2, 2, 3, 4, 5), r"/a\.parquet has 3 records and 4 outcomes"),
        ((0, 1, 1, 3, 4, 5), r"/a\.parquet has records with two outcomes and as many with none"),
    ],
    ids=["lost", "a shard lost", "doubled", "lost and doubled"],
)
def test_what_does_not_add_up_is_refused(
    run: RunFolder, keys: tuple[int, ...], differs: str
) -> None:
    with pytest.raises(RunError, match=differs) as caught:
        settled(run, [row(key) for key in keys], ledger())
    assert "The manifest is not written" in str(caught.value)


def test_outcomes_of_no_shard_are_refused(run: RunFolder) -> None:
    rows = [*(row(key) for key in range(6)), row(6, path="/c.parquet")]
    with pytest.raises(RunError, match=r"/c\.parquet is not in the input and has 1 outcomes"):
        settled(run, rows, ledger())
