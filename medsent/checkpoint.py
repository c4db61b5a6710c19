"""A run's blocks, each a file of predictions and a file of their ids: both stand, or neither.

Ray Data commits a block in three steps: ids as `<block>.pending.parquet`, the predictions
as `<block>-0.parquet`, and the ids renamed to `<block>.parquet`. A task that is tried again
after its commit goes through them once more, and where it dies on the way pending and
committed ids stand side by side: Ray's own cleaning then deletes the predictions and keeps
the ids, so the rows are lost. `reconcile` puts every such state right before a resume.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from pyarrow import fs
from ray.data.checkpoint import CheckpointConfig, IdColumnCheckpointManager

ID = "row_hash"
_PENDING = ".pending.parquet"
_SUFFIX = ".parquet"
_READERS = 16
_FILTER_MEMORY_BYTES = 128 * 1024**2
"""What a filter actor reserves besides its ids; Ray's 1 GiB would not fit a small machine."""


@dataclass
class _Block:
    """The files of one block; any of them may be missing."""

    predictions: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reconciled:
    """What stood in a run's folder after it was put right."""

    rows: int
    """Rows that have an outcome."""
    dropped_blocks: int
    """Blocks that were cut short: deleted, so that their rows are scored again."""
    mended_blocks: int
    """Blocks whose ids were written again from their predictions."""


class CheckpointManager(IdColumnCheckpointManager):
    """Ray's manager of checkpoints, which loses no rows where a block was committed twice."""

    def _clean_pending_checkpoints(
        self, data_file_dir: str | None, data_file_filesystem: fs.FileSystem | None = None
    ) -> None:
        if data_file_dir:
            filesystem = data_file_filesystem or self.filesystem
            reconcile(filesystem, data_file_dir, self.checkpoint_path_unwrapped)

    def _preprocess_data_pipeline(self, checkpoint_ds: ray.data.Dataset) -> ray.data.Dataset:
        """Take each id once: a row that many personas read has as many records in a block."""
        return checkpoint_ds.map_batches(_distinct, batch_format="pyarrow", batch_size=None)


def checkpoint_config(filesystem: fs.FileSystem, path: str) -> CheckpointConfig:
    """Return the settings of Ray Data's checkpoint in the folder `path`."""
    config = CheckpointConfig(
        id_column=ID,
        checkpoint_path=path,
        override_filesystem=filesystem,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=CheckpointManager,
    )
    config.checkpoint_actor_memory_bytes = _FILTER_MEMORY_BYTES
    return config


def reconcile(filesystem: fs.FileSystem, predictions: str, checkpoint: str) -> Reconciled:
    """Leave only blocks whose predictions and ids both stand whole and agree.

    A block with pending ids was cut short and is deleted, committed or not. Ids without
    predictions are deleted; predictions without ids, or with another number of them, get
    theirs anew. A kill within leaves a state that the next call puts right: the file that
    condemns a block goes last.
    """
    blocks = _blocks(filesystem, predictions, checkpoint)
    with ThreadPoolExecutor(_READERS) as threads:
        settled = threads.map(
            lambda stem: _settle(filesystem, blocks[stem], f"{checkpoint}/{stem}{_SUFFIX}"), blocks
        )
        outcomes = list(settled)
    return Reconciled(
        rows=sum(rows for rows, _ in outcomes),
        dropped_blocks=sum(state == "dropped" for _, state in outcomes),
        mended_blocks=sum(state == "mended" for _, state in outcomes),
    )


def count_done(filesystem: fs.FileSystem, checkpoint: str) -> int:
    """Return the rows of the committed blocks; touches nothing, so others may be at work."""
    files = _files(filesystem, checkpoint)
    return _rows(filesystem, (path for path, _ in files if not path.endswith(_PENDING))) or 0


def read_ids(filesystem: fs.FileSystem, path: str) -> pa.ChunkedArray:
    """Return the ids in a file of predictions or of a checkpoint."""
    return pq.read_table(path, columns=[ID], filesystem=filesystem)[ID]


def write_ids(filesystem: fs.FileSystem, path: str, ids: Any) -> None:
    """Write a block's ids as Ray's checkpoint reads them."""
    pq.write_table(pa.table({ID: ids}), path, filesystem=filesystem)


def _distinct(ids: pa.Table) -> pa.Table:
    return pa.table({ID: ids[ID].unique()})


def _blocks(filesystem: fs.FileSystem, predictions: str, checkpoint: str) -> dict[str, _Block]:
    blocks: dict[str, _Block] = defaultdict(_Block)
    for path, name in _files(filesystem, predictions):
        blocks[name.removesuffix(_SUFFIX).rpartition("-")[0]].predictions.append(path)
    for path, name in _files(filesystem, checkpoint):
        if name.endswith(_PENDING):
            blocks[name.removesuffix(_PENDING)].pending.append(path)
        else:
            blocks[name.removesuffix(_SUFFIX)].ids.append(path)
    return dict(blocks)


def _files(filesystem: fs.FileSystem, folder: str) -> Iterator[tuple[str, str]]:
    selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
    for info in filesystem.get_file_info(selector):
        if info.type == fs.FileType.File and info.path.endswith(_SUFFIX):
            yield info.path, posixpath.basename(info.path)


def _settle(filesystem: fs.FileSystem, block: _Block, ids: str) -> tuple[int, str]:
    """Put one block right; return its rows and what was done to it."""
    if block.pending:
        _delete(filesystem, [*block.predictions, *block.ids, *block.pending])
        return 0, "dropped"
    rows = _rows(filesystem, block.predictions)
    if not rows:
        _delete(filesystem, [*block.ids, *block.predictions])
        return 0, "dropped"
    if _rows(filesystem, block.ids) == rows:
        return rows, "whole"
    written = [read_ids(filesystem, path) for path in block.predictions]
    write_ids(filesystem, ids, pa.chunked_array([c for ids in written for c in ids.chunks]))
    return rows, "mended"


def _rows(filesystem: fs.FileSystem, paths: Iterable[str]) -> int | None:
    """Return the rows in all of the files; None where one is not whole.

    Raises `OSError` where the storage cannot be read: that condemns nothing.
    """
    rows = 0
    for path in paths:
        try:
            rows += pq.read_metadata(path, filesystem=filesystem).num_rows
        except (pa.ArrowException, OSError):
            with filesystem.open_input_file(path) as file:
                file.read()
            return None
    return rows


def _delete(filesystem: fs.FileSystem, paths: Iterable[str]) -> None:
    for path in paths:
        filesystem.delete_file(path)
