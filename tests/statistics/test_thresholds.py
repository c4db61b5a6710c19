"""Thresholds: the best there are, and a file that says where they come from."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.errors import ConfigError
from medsent.labels import LABELS
from medsent.statistics.thresholds import (
    Thresholds,
    TunedOn,
    best_f1_thresholds,
    hashed_opinions,
    load_thresholds,
)

# A coarse grid, so that ties are common.
PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 20).map(lambda i: i / 20)),
    min_size=1,
    max_size=40,
)


def _f1(truth: np.ndarray, given: np.ndarray) -> float:
    tp = int((truth & given).sum())
    return 2 * tp / max(1, int(truth.sum()) + int(given.sum()))


@given(PAIRS)
def test_equals_brute_force(pairs: list[tuple[float, float]]) -> None:
    gold, scores = np.array(pairs).T
    (cut,) = best_f1_thresholds(gold[:, None], scores[:, None])
    known = ~np.isnan(gold)
    truth, own = gold[known] == 1, scores[known]
    if not truth.any():
        assert cut == 0.5
        return
    best = max(_f1(truth, own >= candidate) for candidate in [*own, 2.0])
    assert _f1(truth, own >= cut) == best
    # Halfway: no record lies so near that rounding could move it across.
    assert min(abs(own[own > 0] - cut), default=1.0) > 0.01


def test_a_label_without_positives_gets_a_half() -> None:
    gold = np.array([[0.0, 1.0], [np.nan, 0.0]])
    assert best_f1_thresholds(gold, np.array([[0.1, 0.9], [0.2, 0.3]])) == [0.5, 0.6]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    ids = [f"opinion-{i}" for i in range(50)]
    thresholds = Thresholds(
        method="onepass",
        adapter_sha256=None,
        thresholds={label: i / 100 for i, label in enumerate(LABELS)},
        tuned_on=TunedOn(
            data_digest="d", opinions=50, records=200, opinion_hashes=hashed_opinions(ids)
        ),
    )
    path = tmp_path / "thresholds.json"
    path.write_text(thresholds.model_dump_json())
    return path


def test_a_file_comes_back(saved: Path) -> None:
    assert load_thresholds(saved) == {label: i / 100 for i, label in enumerate(LABELS)}
    assert list(load_thresholds(str(saved))) == list(LABELS)


def test_opinions_tuned_on_are_recognised(saved: Path) -> None:
    thresholds = Thresholds.model_validate_json(saved.read_text())
    assert thresholds.shared_opinions(f"opinion-{i}" for i in range(40, 60)) == 10
    assert thresholds.shared_opinions(["another"]) == 0
    assert thresholds.shared_opinions([]) == 0


def _edited(path: Path, **changes: float | None) -> Path:
    values = json.loads(path.read_text())
    for label, value in changes.items():
        values["thresholds"].pop(label, None)
        if value is not None:
            values["thresholds"][label] = value
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anger": None}, "anger"),
        ({"angry": 0.5}, "angry"),
        ({"anger": 1.5}, "anger has 1.5"),
        ({"anger": float("nan")}, "anger"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what(
    saved: Path, changes: dict[str, float | None], message: str
) -> None:
    path = _edited(saved, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        load_thresholds(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json"):
        load_thresholds(tmp_path / "gone.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json"):
        load_thresholds(tmp_path / "broken.json")
