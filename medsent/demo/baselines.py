"""Baselines for the demo's model: macro F1 of the true probabilities, of guessing, of TF-IDF.

Every score is the mean F1 over the 21 labels, with thresholds per label tuned on the
validation split and applied to another. `python -m medsent.demo.baselines` prints them. "Bayes"
is the Bayes classifier: it knows the true probability of each label.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import OneHotEncoder

from medsent.config.labels import LABELS
from medsent.console import printing
from medsent.demo.data import SPLITS, persona_truth, write_split
from medsent.input.gold import gold_matrix
from medsent.metrics.statistics.thresholds import best_f1_thresholds

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Scores = dict[str, Floats]
"""Split name to (N, 21) scores."""

TUNED_ON = "validation"
MEASURED_ON = ("test", "heldout")

TRAIN_SHARDS = 4
"""TF-IDF learns from the first shards of train only (8,000 of 24,000 opinions) ..."""
TRAIN_READERS = 3
"""... and from the first readers of each opinion: more texts teach more than more readers."""


@dataclass(frozen=True)
class Baseline:
    """One way to predict, and its macro F1 on each measured split."""

    name: str
    macro_f1: dict[str, float]


def baselines(folder: Path) -> list[Baseline]:
    """Return all baselines on the demo's splits under `folder`, writing what is missing.

    Takes a few minutes on one core, nearly all of it for TF-IDF.
    """
    tables = {name: _table(folder, name) for name in (TUNED_ON, *MEASURED_ON)}
    gold = {name: _gold(table) for name, table in tables.items()}
    logger.info(
        f"TF-IDF: learning from {TRAIN_SHARDS} of {SPLITS['train'].shards} shards of train ..."
    )
    predicted = {
        "Bayes (the true probabilities)": {n: _truth(table) for n, table in tables.items()},
        "best that ignores personas": {n: _personas_ignored(n, t) for n, t in tables.items()},
        "TF-IDF and persona, logistic regression": tfidf_scores(folder, tables),
        "always yes": {name: np.ones_like(values) for name, values in gold.items()},
    }
    return [Baseline(name, tuned_macro_f1(scores, gold)) for name, scores in predicted.items()]


def tuned_macro_f1(scores: Scores, gold: Scores) -> dict[str, float]:
    """Return the mean F1 over labels on each measured split, thresholds tuned on validation.

    Gold is complete here (0 or 1): the process misses no label.
    """
    cuts = best_f1_thresholds(gold[TUNED_ON], scores[TUNED_ON])
    return {
        name: float(f1_score(gold[name], scores[name] >= cuts, average="macro", zero_division=0))
        for name in MEASURED_ON
    }


def best_reachable(folder: Path, shard: Path) -> float:
    """Return the macro F1 of Bayes on one shard's records, thresholds tuned on validation."""
    validation, records = _table(folder, TUNED_ON), pq.read_table(shard)
    cuts = best_f1_thresholds(_gold(validation), _truth(validation))
    decided = _truth(records) >= cuts
    return float(f1_score(_gold(records), decided, average="macro", zero_division=0))


def tfidf_scores(folder: Path, tables: dict[str, pa.Table]) -> Scores:
    """Return probabilities of one logistic regression a label, over text n-grams and persona."""
    train = _part_of_train(folder)
    text = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)),
            (
                "characters",
                TfidfVectorizer(
                    analyzer="char_wb",
                    ngram_range=(3, 5),
                    min_df=5,
                    max_features=60_000,
                    sublinear_tf=True,
                ),
            ),
        ]
    )
    persona = OneHotEncoder()
    features = sparse.hstack(
        [text.fit_transform(_column(train, "text")), persona.fit_transform(_readers(train))]
    ).tocsr()
    others = {
        name: sparse.hstack(
            [text.transform(_column(table, "text")), persona.transform(_readers(table))]
        ).tocsr()
        for name, table in tables.items()
    }
    scores = {name: np.empty((table.num_rows, len(LABELS))) for name, table in tables.items()}
    for index, values in enumerate(_gold(train).T):
        model = LogisticRegression(C=3.0, solver="liblinear").fit(features, values)
        for name, rows in others.items():
            scores[name][:, index] = model.predict_proba(rows)[:, 1]
    return scores


def _table(folder: Path, name: str) -> pa.Table:
    return pq.read_table(write_split(name, folder))


def _part_of_train(folder: Path) -> pa.Table:
    shards = sorted(write_split("train", folder).glob("*.parquet"))[:TRAIN_SHARDS]
    table = pa.concat_tables([pq.read_table(shard) for shard in shards])
    # Each opinion's readings stand together.
    place = np.arange(table.num_rows) % SPLITS["train"].readers
    return table.filter(pa.array(place < TRAIN_READERS))


def _gold(table: pa.Table) -> Floats:
    gold = gold_matrix(table, LABELS)
    assert gold is not None  # the demo's shards are labelled
    return gold.astype(np.float64)


def _truth(table: pa.Table) -> Floats:
    truth = table["truth"].combine_chunks()
    return np.stack(
        [np.asarray(pc.struct_field(truth, label), dtype=np.float64) for label in LABELS], axis=1
    )


def _personas_ignored(name: str, table: pa.Table) -> Floats:
    """Return each record's probabilities averaged over all personas, for want of the reader."""
    split = SPLITS[name]
    means = [persona_truth(split, shard).mean(axis=1) for shard in range(split.shards)]
    by_record = np.repeat(np.concatenate(means), split.readers, axis=0)
    if len(by_record) != table.num_rows:
        raise ValueError(f"the split {name} on disk is not the one this version makes; delete it")
    return by_record


def _column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table[name].to_pylist()
    return values


def _readers(table: pa.Table) -> list[list[str]]:
    return [[persona] for persona in _column(table, "persona")]


def main() -> None:
    """Print the table for the splits under the folder given, else `data/demo`."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/demo")
    with printing():
        found = baselines(folder)
    print("\nMacro F1 over 21 labels, synthetic data; thresholds tuned on validation\n")
    print(f"{'':42}{''.join(f'{name:>9}' for name in MEASURED_ON)}")
    for baseline in found:
        figures = "".join(f"{baseline.macro_f1[name]:9.3f}" for name in MEASURED_ON)
        print(f"{baseline.name:42}{figures}")


if __name__ == "__main__":
    main()
