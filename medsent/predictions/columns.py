"""The schema of `predictions/*.parquet`: keys, kept input columns, a struct a variant."""

from collections.abc import Sequence

import pyarrow as pa

ROUTED = "routed"
"""The column that names the variant whose answer counts, in a job with a route."""

KEYS: tuple[str, ...] = (
    "row_hash",
    "path",
    "record_id",
    "opinion_id",
    "language",
    "persona",
    "date",
    "outcome",
    "reason",
    "gold",
)
"""The columns that every run's predictions begin with."""


def gold_type(labels: Sequence[str]) -> pa.StructType:
    """Return the type of the column `gold`: 1, 0 or null for each label."""
    return pa.struct([(label, pa.int8()) for label in labels])


def prediction_type(labels: Sequence[str]) -> pa.StructType:
    """Return the type of a variant's column."""
    return pa.struct(
        [
            ("status", pa.string()),
            ("labels", pa.struct([(label, pa.bool_()) for label in labels])),
            ("probabilities", pa.struct([(label, pa.float32()) for label in labels])),
            ("answer", pa.string()),
            ("prompt_tokens", pa.int32()),
            ("cached_tokens", pa.int32()),
            ("output_tokens", pa.int32()),
            ("latency_s", pa.float32()),
            ("finished_at", pa.timestamp("us", tz="UTC")),
            ("replica", pa.string()),
            ("attempt", pa.int8()),
            ("repaired", pa.bool_()),
        ]
    )


def key_types(labels: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the types of `KEYS`."""
    strings: dict[str, pa.DataType] = dict.fromkeys(KEYS, pa.string())
    others = {"row_hash": pa.uint64(), "date": pa.date32(), "gold": gold_type(labels)}
    return strings | others


def schema(
    variants: Sequence[str],
    labels: Sequence[str],
    kept: Sequence[pa.Field] = (),
    routed: bool = False,
) -> pa.Schema:
    """Return the schema of a run's predictions: keys, kept input columns, a struct a variant.

    With a route a variant is null where it was not asked, and `routed` stands after the keys.
    """
    fields = [pa.field(name, kind) for name, kind in key_types(labels).items()]
    if routed:
        fields.append(pa.field(ROUTED, pa.string()))
    answers = prediction_type(labels)
    return pa.schema([*fields, *kept, *(pa.field(name, answers) for name in variants)])
