"""What is left of opinions in the files under a folder, read raw and, where Parquet, decoded."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def traces(folder: Path, words: Iterable[str]) -> Iterator[str]:
    """Yield a line for each file that has one of the words in it, or in its path."""
    sought = frozenset(words)
    for file in sorted(folder.rglob("*")):
        left = {word for word in sought if word in str(file)}
        if file.is_file():
            left |= _in_file(file, sought)
        if left:
            yield f"{file.relative_to(folder)}: {', '.join(sorted(left)[:3])} ({len(left)} in all)"


def _in_file(file: Path, sought: frozenset[str]) -> set[str]:
    raw = file.read_bytes()
    found = {word for word in sought if word.encode() in raw}
    if raw[:4] == b"PAR1":
        for column in pq.ParquetFile(file).read().columns:
            found |= _in_column(column, sought)
    return found


def _in_column(column: pa.ChunkedArray, sought: frozenset[str]) -> set[str]:
    if pa.types.is_struct(column.type):
        flat = column.combine_chunks().flatten()
        return set().union(*(_in_column(pa.chunked_array([part]), sought) for part in flat))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return set()
    values = pc.unique(column.cast(pa.string())).to_pylist()
    return {word for word in sought for value in values if value and word in value}
