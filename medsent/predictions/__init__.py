"""Predictions as Parquet, written and read: a row for each record, a struct for each variant."""

from medsent.predictions.arrays import label_matrix, label_struct, probability_matrix, record_keys
from medsent.predictions.columns import (
    KEYS,
    ROUTED,
    gold_type,
    key_types,
    prediction_type,
    schema,
)
from medsent.predictions.outcome import AnswerStatus, Outcome, Reason
from medsent.predictions.parquet import batches, files, labels_of, read, rewrite, table

__all__ = [
    "KEYS",
    "ROUTED",
    "AnswerStatus",
    "Outcome",
    "Reason",
    "batches",
    "files",
    "gold_type",
    "key_types",
    "label_matrix",
    "label_struct",
    "labels_of",
    "prediction_type",
    "probability_matrix",
    "read",
    "record_keys",
    "rewrite",
    "schema",
    "table",
]
