"""Records made by hand, of the columns that reading gives them."""

from typing import Any

import pyarrow as pa
from pyarrow import fs

from medsent.config.labels import LABELS
from medsent.input.records import RecordReader
from medsent.input.shards import Shards

SCHEMA = RecordReader(Shards((), fs.LocalFileSystem(), {}, (), LABELS), ()).schema


def records(*rows: dict[str, Any]) -> pa.Table:
    """Return good records but for what is given of each; their keys are their numbers."""
    good = {"text": "All was well.", "language": "en", "persona": "surgeon", "path": "/in"}
    blank = dict.fromkeys(SCHEMA.names)
    filled = [{**blank, **good, "row_hash": i, **row} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, schema=SCHEMA)
