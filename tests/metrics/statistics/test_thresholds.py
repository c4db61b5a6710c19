"""Thresholds: the best there are, and a file that says where they come from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medsent.config.labels import LABELS
from medsent.errors import ConfigError
from medsent.metrics.statistics.thresholds import (
    Thresholds,
    TunedOn,
    best_f1_thresholds,
    hash_opinions,
    hashed_opinions,
    hashed_texts,
    read_thresholds,
    tune,
)

ADAPTER = Path(__file__).parents[3] / "medsent" / "demo" / "adapter"

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


@given(PAIRS, st.sampled_from([0.2, 0.5, 0.75, 0.8, 1.0]))
def test_a_precision_floor_equals_brute_force(
    pairs: list[tuple[float, float]], floor: float
) -> None:
    gold, scores = np.array(pairs).T
    (found,) = tune(gold[:, None], scores[:, None], floor)
    known = ~np.isnan(gold)
    truth, own = gold[known] == 1, scores[known]
    reached = [each for each in own if truth[own >= each].mean() >= floor]
    if not reached:
        assert not found.tuned
        return
    assert found.tuned
    cut = found.threshold
    assert np.array_equal(own >= cut, own >= min(reached))
    assert min(abs(own[own > 0] - cut), default=1.0) > 0.01


def test_a_lower_floor_never_costs_recall() -> None:
    """Precision rises and falls on the way; the lowest threshold is taken all the same."""
    gold = np.array([[1.0], [0.0], [1.0], [1.0], [0.0], [0.0]])
    scores = np.array([[0.9], [0.8], [0.7], [0.6], [0.4], [0.2]])
    cuts = [tune(gold, scores, floor)[0].threshold for floor in (0.5, 0.6, 0.7, 0.8, 1.0)]
    assert cuts == pytest.approx([0.1, 0.3, 0.5, 0.85, 0.85])


def test_tuned_labels_are_told_with_what_they_do() -> None:
    """Columns: one that is told well, one the wrong way round, one without positives or gold."""
    gold = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, np.nan], [0.0, 0.0, 0.0], [np.nan, 1.0, 0.0]])
    scores = np.array([[0.9, 0.1, 0.9], [0.4, 0.8, 0.9], [0.6, 0.9, 0.1], [0.95, np.nan, 0.2]])
    good, wrong, absent = tune(gold, scores)
    assert (good.positives, good.tuned, good.threshold) == (2, True, pytest.approx(0.2))
    assert (good.precision, good.recall, good.f1) == (2 / 3, 1.0, 0.8)
    assert (wrong.tuned, wrong.threshold, wrong.positives) == (True, pytest.approx(0.05), 1)
    assert (absent.tuned, absent.threshold, absent.positives) == (False, 0.5, 0)
    assert (absent.precision, absent.recall, absent.f1) == (0.0, None, 0.0)

    good, wrong, absent = tune(gold, scores, 0.8)
    assert (good.threshold, good.precision, good.recall) == (pytest.approx(0.75), 1.0, 0.5)
    assert (wrong.tuned, wrong.threshold) == (False, 1.0)
    assert (wrong.precision, wrong.recall, wrong.f1) == (None, 0.0, 0.0)
    assert (absent.tuned, absent.threshold) == (False, 1.0)
    assert (absent.precision, absent.recall, absent.f1) == (None, None, None)


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
    assert read_thresholds(saved).thresholds == {label: i / 100 for i, label in enumerate(LABELS)}
    assert list(read_thresholds(str(saved)).thresholds) == list(LABELS)


def test_opinions_tuned_on_are_recognised(saved: Path) -> None:
    thresholds = Thresholds.model_validate_json(saved.read_text())
    assert thresholds.tuned_on.shared(hash_opinions(f"opinion-{i}" for i in range(40, 60)))[0] == 10
    assert thresholds.tuned_on.shared(hash_opinions(["another"]))[0] == 0
    assert thresholds.tuned_on.shared(hash_opinions([]))[0] == 0


@pytest.mark.parametrize("name", ["thresholds.json", "thresholds-baseline.json"])
def test_a_file_of_the_first_version_is_read(name: str) -> None:
    found = read_thresholds(ADAPTER / name)
    assert (found.tuned_for, found.precision_floor, found.untuned) == ("f1", None, [])
    assert found.tuned_on.run is None
    assert len(found.tuned_on.hashes) == found.tuned_on.opinions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuned_for": "precision"}, "precision_floor goes with tuned_for: precision"),
        ({"precision_floor": 0.8}, "precision_floor goes with tuned_for: precision"),
        ({"tuned_for": "precision", "precision_floor": 1.5}, "precision_floor"),
        ({"tuned_for": "recall"}, "tuned_for"),
    ],
)
def test_a_floor_goes_with_precision(saved: Path, changes: dict[str, Any], message: str) -> None:
    values = json.loads(saved.read_text())
    saved.write_text(json.dumps({**values, "tuned_for": "precision", "precision_floor": 0.8}))
    assert read_thresholds(saved).precision_floor == 0.8
    saved.write_text(json.dumps({**values, **changes}))
    with pytest.raises(ConfigError, match=message):
        read_thresholds(saved)


@pytest.mark.parametrize("hashes", ["AAAA", "not base64", "ą"])
def test_hashes_that_are_none(saved: Path, hashes: str) -> None:
    values = json.loads(saved.read_text())
    values["tuned_on"]["opinion_hashes"] = hashes
    saved.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"opinion_hashes: .*no hashes of opinions"):
        read_thresholds(saved)


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
        ({"anger": 1.5}, "anger has 1.5"),
        ({"anger": float("nan")}, "anger"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what(
    saved: Path, changes: dict[str, float | None], message: str
) -> None:
    path = _edited(saved, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        read_thresholds(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_labels_are_those_that_the_file_names_in_its_order(saved: Path) -> None:
    path = _edited(saved, anger=None, angry=0.25)
    found = read_thresholds(path)
    assert list(found.thresholds)[-1] == "angry"
    found.check_labels(list(reversed(found.thresholds)))
    with pytest.raises(ConfigError, match=r"own\.json is of other labels") as caught:
        found.check_labels(LABELS, "own.json")
    assert "there is none for anger; no label is called angry." in str(caught.value)
    path.write_text(json.dumps({**json.loads(path.read_text()), "thresholds": {}}))
    with pytest.raises(ConfigError, match="thresholds"):
        read_thresholds(path)


def test_prompt_and_answer_of_a_json_variant(saved: Path) -> None:
    assert (read_thresholds(saved).prompt, read_thresholds(saved).answer) == (None, None)
    values = json.loads(saved.read_text()) | {"method": "json", "prompt": "ab", "answer": "cd"}
    saved.write_text(json.dumps(values))
    found = read_thresholds(saved)
    assert (found.method, found.prompt, found.answer) == ("json", "ab", "cd")


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json"):
        read_thresholds(tmp_path / "gone.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json"):
        read_thresholds(tmp_path / "broken.json")


def test_opinions_are_known_by_id_and_by_text_and_can_be_forgotten() -> None:
    texts = np.array([11, 12, 0, 13], np.uint64)
    ids, hashed = hashed_texts(["a", "b", "c", "a"], texts)  # two texts of a
    known = TunedOn(data_digest="d", opinions=3, records=9, opinion_hashes=ids, text_hashes=hashed)
    assert known.hashes.tolist() == hash_opinions("abc").tolist()
    assert known.recognised.tolist() == [11, 12, 13]
    of_b = hash_opinions("b")
    assert known.shared(of_b) == (1, 0)
    assert known.shared(np.append(of_b, texts)) == (2, 1)
    assert known.shared(np.array([0], np.uint64)) == (0, 0)
    left = known.without(["a"])
    assert left.hashes.tolist() == hash_opinions("bc").tolist()
    assert left.recognised.tolist() == [12]
    assert left.without("abc").hashes.size == 0
    assert known.forgetting(left) == left
    assert known.forgetting(left.model_copy(update={"data_digest": "e"})) == known
    of_before = known.model_copy(update={"text_hashes": None})
    assert of_before.recognised.size == 0
    assert of_before.without(["a"]).hashes.tolist() == left.hashes.tolist()


def test_a_text_for_each_opinion() -> None:
    with pytest.raises(ValidationError, match="not one for each"):
        TunedOn(
            data_digest="d",
            opinions=2,
            records=2,
            opinion_hashes=hashed_opinions("ab"),
            text_hashes=hashed_opinions("a"),
        )
