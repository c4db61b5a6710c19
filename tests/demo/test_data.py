"""The synthetic data: the same each time, as documented, and held out where it says so."""

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from medsent.config.labels import LABELS
from medsent.demo import data
from medsent.demo.data import Split, persona_truth, shard_table
from medsent.demo.process import LabelProcess
from medsent.input.gold import gold_matrix
from medsent.metrics.statistics.thresholds import best_f1_thresholds

pytestmark = pytest.mark.slow

PLAIN = str.maketrans("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "acelnoszzACELNOSZZ")
SMALL = Split(opinions=300, readers=4, shards=1, seed=77)


@pytest.fixture(scope="module")
def shard() -> pa.Table:
    return shard_table("train", SMALL, 0)


@pytest.fixture(scope="module")
def held_out() -> pa.Table:
    return shard_table("heldout", Split(200, 1, 1, seed=78, held_out=True), 0)


def test_the_same_split_is_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"train": Split(opinions=20, readers=2, shards=2, seed=5)}
    monkeypatch.setattr(data, "SPLITS", tiny)
    one, two = (data.write_split("train", tmp_path / name) for name in ("one", "two"))
    assert data.content_digest(one) == data.content_digest(two)
    monkeypatch.setattr(data, "SPLITS", {"train": Split(20, 2, 2, seed=6)})
    assert data.content_digest(data.write_split("train", tmp_path / "x")) != data.content_digest(
        one
    )


def test_a_killed_writing_leaves_no_half_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SPLITS", {"train": Split(20, 2, 2, seed=5)})

    def dies(name: str, split: Split, shard: int) -> pa.Table:
        if shard == 1:
            raise KeyboardInterrupt
        return shard_table(name, split, shard)

    monkeypatch.setattr(data, "shard_table", dies)
    with pytest.raises(KeyboardInterrupt):
        data.write_split("train", tmp_path)
    assert not (tmp_path / "train").exists()
    monkeypatch.setattr(data, "shard_table", shard_table)
    assert len(list(data.write_split("train", tmp_path).glob("*.parquet"))) == 2


def test_prevalences_are_those_documented() -> None:
    spec = yaml.safe_load(files("medsent.demo").joinpath("process.yaml").read_text("utf-8"))
    documented = np.array([spec["prevalence"][label] for label in LABELS])
    process, rng = LabelProcess(), np.random.default_rng(3)
    truth = process.probabilities(np.stack([process.draw_cues(rng) for _ in range(2000)]))
    assert truth.mean(axis=(0, 1)) == pytest.approx(documented, abs=0.025)


def test_labels_are_drawn_with_the_true_probabilities(shard: pa.Table) -> None:
    gold = gold_matrix(shard, LABELS)
    assert gold is not None
    truth = np.stack(
        [np.asarray(pc.struct_field(shard["truth"].combine_chunks(), label)) for label in LABELS],
        axis=1,
    )
    deviation = np.sqrt((truth * (1 - truth)).sum(axis=0)) / len(truth)
    assert (np.abs(gold.mean(axis=0) - truth.mean(axis=0)) < 4 * deviation).all()
    assert np.corrcoef(gold.ravel(), truth.ravel())[0, 1] > 0.5


def test_all_personas_truth_agrees_with_the_shard(shard: pa.Table) -> None:
    everyone = persona_truth(SMALL, 0)
    assert everyone.shape == (SMALL.opinions, 16, len(LABELS))
    order = list(LabelProcess().personas)
    for row in (0, 5, 1199):
        record = shard.slice(row, 1).to_pylist()[0]
        own = everyone[row // SMALL.readers, order.index(record["persona"])]
        assert own == pytest.approx([record["truth"][label] for label in LABELS], abs=1e-6)


def test_personas_disagree() -> None:
    """Readers of one text differ beyond the chance of the draw.

    Measured: two of them give another label in 13.9% of decisions, where the draw alone
    gives 11.5%; their probabilities lie 0.30 apart at the most, on average; and of the
    best decisions per label and text, a third is not the same for all 16.
    """
    process, rng = LabelProcess(), np.random.default_rng(4)
    truth = process.probabilities(np.stack([process.draw_cues(rng) for _ in range(500)]))
    alone = (2 * truth * (1 - truth)).mean()
    share = truth.mean(axis=1)
    # The mean over pairs of different readers, from that over all pairs, twins included.
    between = (2 * share * (1 - share)).mean() * 16 / 15 - alone / 15
    assert between > 1.15 * alone
    assert (truth.max(axis=1) - truth.min(axis=1)).mean() > 0.25
    flat = truth.reshape(-1, len(LABELS))
    drawn = (rng.random(flat.shape) < flat).astype(np.float64)
    yes = (truth >= np.array(best_f1_thresholds(drawn, flat))).mean(axis=1)
    assert ((yes > 0) & (yes < 1)).mean() > 0.25


def test_texts_have_40_to_120_words_in_two_languages(shard: pa.Table) -> None:
    words = [len(text.split()) for text in shard["text"].to_pylist()]
    assert min(words) >= 40
    assert max(words) <= 120
    assert set(shard["language"].to_pylist()) == {"pl", "en"}
    assert len(set(shard["text"].to_pylist())) == SMALL.opinions


def test_held_out_phrases_are_never_trained_on(shard: pa.Table, held_out: pa.Table) -> None:
    patterns = {language: _held_out_patterns(language) for language in ("pl", "en")}

    def hits(table: pa.Table) -> int:
        rows = {row["text"]: row["language"] for row in table.to_pylist()}
        return sum(
            any(pattern.search(text.translate(PLAIN)) for pattern in patterns[language])
            for text, language in rows.items()
        )

    assert hits(shard) == 0
    assert hits(held_out) > 0.95 * held_out.num_rows  # typos may hide one


def _held_out_patterns(language: str) -> list[re.Pattern[str]]:
    """Return the last fifth of each cue's phrases, as patterns of all their choices."""
    text = files("medsent.demo").joinpath("phrases", f"{language}.yaml").read_text("utf-8")
    phrases = [
        phrase.translate(PLAIN)
        for bank in yaml.safe_load(text).values()
        for phrase in bank[len(bank) - len(bank) // 5 :]
    ]
    return [
        re.compile(
            "".join(
                f"({'|'.join(map(re.escape, part.split('|')))})" if index % 2 else re.escape(part)
                for index, part in enumerate(re.split(r"[{}]", phrase))
            ),
            re.IGNORECASE,
        )
        for phrase in phrases
    ]
