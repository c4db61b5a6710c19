"""The baselines of the demo, on splits small enough for a test."""

from pathlib import Path

import numpy as np
import pytest

from medsent.config.labels import LABELS
from medsent.demo import baselines, data
from medsent.demo.baselines import Baseline, tuned_macro_f1
from medsent.demo.data import Split

pytestmark = pytest.mark.slow

SMALL = {
    "train": Split(opinions=240, readers=4, shards=4, seed=11),
    "validation": Split(opinions=150, readers=4, shards=1, seed=12),
    "test": Split(opinions=150, readers=4, shards=3, seed=13),
    "heldout": Split(opinions=60, readers=4, shards=1, seed=14, held_out=True),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Baseline]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "SPLITS", SMALL)
        patch.setattr(baselines, "SPLITS", SMALL)
        folder = tmp_path_factory.mktemp("demo")
        return {b.name.split()[0]: b for b in baselines.baselines(folder)}


def test_knowing_more_scores_higher(found: dict[str, Baseline]) -> None:
    order = [found[name].macro_f1["test"] for name in ("Bayes", "best", "TF-IDF", "always")]
    assert order == sorted(order, reverse=True)
    assert all(set(baseline.macro_f1) == {"test", "heldout"} for baseline in found.values())


def test_thresholds_come_from_validation() -> None:
    """A score that ranks well but lies elsewhere on the test split is cut where validation says."""
    gold = {name: np.tile([[0.0], [1.0]], (1, len(LABELS))) for name in ("validation", "test")}
    gold["heldout"] = gold["test"]
    scores = {"validation": np.array([[0.2], [0.4]]) * np.ones(len(LABELS))}
    scores["test"] = scores["validation"]
    scores["heldout"] = scores["validation"] + 0.5  # now all are above the threshold of 0.3
    assert tuned_macro_f1(scores, gold) == {"test": 1.0, "heldout": pytest.approx(2 / 3)}


def test_a_split_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SPLITS", SMALL)
    table = baselines._table(tmp_path, "heldout")
    monkeypatch.setattr(baselines, "SPLITS", {"heldout": Split(50, 4, 1, 14, held_out=True)})
    with pytest.raises(ValueError, match="heldout"):
        baselines._personas_ignored("heldout", table)
