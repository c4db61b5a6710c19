"""Every state that a kill can leave a block in, and what the next sitting makes of it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from medsent.checkpoint import Reconciled, read_ids, reconcile, write_ids
from pyarrow import fs

LOCAL = fs.LocalFileSystem()
BLOCK = "0a1b_000003"


class Run:
    """A folder with the files of blocks, as Ray Data names them."""

    def __init__(self, folder: Path) -> None:
        self.predictions, self.checkpoint = folder / "predictions", folder / "checkpoint"
        self.predictions.mkdir()
        self.checkpoint.mkdir()

    def data(self, ids: range, block: str = BLOCK) -> Path:
        file = self.predictions / f"{block}-0.parquet"
        table = {"row_hash": pa.array(ids, pa.uint64()), "answer": [str(i) for i in ids]}
        pq.write_table(pa.table(table), file)
        return file

    def ids(self, ids: range, block: str = BLOCK) -> Path:
        file = self.checkpoint / f"{block}.parquet"
        write_ids(LOCAL, str(file), pa.array(ids, pa.uint64()))
        return file

    def pending(self, ids: range, block: str = BLOCK) -> Path:
        return self.ids(ids, f"{block}.pending")

    def reconcile(self) -> Reconciled:
        return reconcile(LOCAL, str(self.predictions), str(self.checkpoint))

    def files(self) -> list[str]:
        return sorted(
            path.name for folder in (self.predictions, self.checkpoint) for path in folder.iterdir()
        )

    def both(self) -> tuple[list[int], list[int]]:
        """Return the ids in the predictions and in the checkpoint."""
        return self._all(self.predictions), self._all(self.checkpoint)

    def _all(self, folder: Path) -> list[int]:
        found = [read_ids(LOCAL, str(file)).to_pylist() for file in folder.iterdir()]
        return sorted(i for ids in found for i in ids)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def test_a_run_that_has_not_begun_has_no_rows(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none")
    assert reconcile(LOCAL, nowhere, nowhere) == Reconciled(0, 0, 0)


def test_whole_blocks_stay_as_they_are(run: Run) -> None:
    run.data(range(5))
    run.ids(range(5))
    run.data(range(5, 8), "0a1b_000004")
    run.ids(range(5, 8), "0a1b_000004")
    before = run.files()
    assert run.reconcile() == Reconciled(rows=8, dropped_blocks=0, mended_blocks=0)
    assert run.files() == before


@pytest.mark.parametrize("whole", [True, False], ids=["data whole", "data cut short"])
@pytest.mark.parametrize("data", [True, False], ids=["data", "no data"])
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
def test_a_block_with_pending_ids_goes_altogether(
    run: Run, data: bool, whole: bool, committed: bool
) -> None:
    run.pending(range(5))
    if data:
        file = run.data(range(5))
        if not whole:
            cut(file)
    if committed:
        run.ids(range(5))
    run.data(range(9, 12), "kept_000000")
    run.ids(range(9, 12), "kept_000000")
    assert run.reconcile() == Reconciled(rows=3, dropped_blocks=1, mended_blocks=0)
    assert run.files() == ["kept_000000-0.parquet", "kept_000000.parquet"]


def test_ids_without_predictions_go_so_that_their_rows_are_scored(run: Run) -> None:
    run.ids(range(5))
    assert run.reconcile() == Reconciled(rows=0, dropped_blocks=1, mended_blocks=0)
    assert run.files() == []


def test_predictions_that_are_not_whole_go_with_their_ids(run: Run) -> None:
    cut(run.data(range(5)))
    run.ids(range(5))
    assert run.reconcile().rows == 0
    assert run.files() == []


@pytest.mark.parametrize("ids", [None, range(3), range(7)], ids=["none", "fewer", "more"])
def test_ids_are_made_anew_from_predictions_of_another_number(run: Run, ids: range | None) -> None:
    run.data(range(5))
    if ids is not None:
        run.ids(ids)
    assert run.reconcile() == Reconciled(rows=5, dropped_blocks=0, mended_blocks=1)
    assert run.both() == (list(range(5)), list(range(5)))


def test_ids_that_are_cut_short_are_made_anew(run: Run) -> None:
    run.data(range(5))
    cut(run.ids(range(5)))
    assert run.reconcile() == Reconciled(rows=5, dropped_blocks=0, mended_blocks=1)
    assert run.both() == (list(range(5)), list(range(5)))


def test_putting_right_twice_changes_nothing_more(run: Run) -> None:
    run.data(range(5))
    run.pending(range(5, 9), "0a1b_000009")
    run.reconcile()
    before = run.files()
    assert run.reconcile() == Reconciled(rows=5, dropped_blocks=0, mended_blocks=0)
    assert run.files() == before


def test_a_storage_that_cannot_be_read_condemns_nothing(run: Run) -> None:
    """A passing failure must not look like a broken block, whose rows would be deleted."""
    run.data(range(5))
    run.ids(range(5))
    before = run.files()
    broken = fs.PyFileSystem(fs.FSSpecHandler(Unreadable()))
    with pytest.raises(OSError, match="the network is down"):
        reconcile(broken, str(run.predictions), str(run.checkpoint))
    assert run.files() == before


class Unreadable:
    """As much of an fsspec file system as lists files and reads none."""

    protocol = "file"

    def __init__(self) -> None:
        from fsspec.implementations.local import LocalFileSystem

        self._real = LocalFileSystem()

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def open(self, *_: object, **__: object) -> None:
        raise OSError("the network is down")
