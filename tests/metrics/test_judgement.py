"""A comparison's verdict, from answers that are better, worse, as good, or the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsent.config.labels import LABELS
from medsent.metrics.build import build_metrics
from medsent.metrics.judgement import judged
from medsent.metrics.model import Comparison, Metrics, Run
from medsent.metrics.statistics.changes import overall_changes
from medsent.metrics.verdict import Margins, Verdict
from medsent.predictions import AnswerStatus
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, batch

pytestmark = pytest.mark.slow

Matrix = npt.NDArray[np.int8]
MARGINS = Margins(0.02, 0.02)
ANGER = LABELS.index("anger")


def gold(rows: int) -> Matrix:
    return (np.random.default_rng(0).random((rows, len(LABELS))) < 0.4).astype(np.int8)


def flipped(truth: Matrix, share: float, seed: int) -> Matrix:
    flips = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(flips, 1 - truth, truth).astype(np.int8)


def report(
    truth: Matrix,
    old: Matrix | Answers,
    new: Matrix | Answers,
    margins: Margins | None = MARGINS,
    readers: int = 2,
    replicates: int = 200,
) -> Metrics:
    sides = {
        name: answers if isinstance(answers, Answers) else Answers(answers)
        for name, answers in {"old": old, "new": new}.items()
    }
    ids = {"opinion_id": [str(index // readers) for index in range(len(truth))]}
    scope = Scope.of(list(sides), LABELS, pairs=[("old", "new")], replicates=replicates)
    state = reduce_batches([batch(truth, sides, ids)], scope)
    found = build_metrics(state, run=Run(name="r", fingerprint="f"), margins=margins)
    assert Metrics.model_validate_json(found.to_json()) == found
    return found


def compared(*args: Any, **settings: Any) -> Comparison:
    return report(*args, **settings).comparisons[0]


def verdict(pair: Comparison) -> Verdict:
    assert pair.verdict is not None
    return pair.verdict


def test_what_is_better_is_shipped_and_what_is_worse_is_blocked() -> None:
    truth = gold(800)
    good, bad = flipped(truth, 0.1, 1), flipped(truth, 0.3, 2)
    found = verdict(compared(truth, bad, good))
    assert (found.decision, found.better, found.blocking) == ("ship", True, [])
    assert found.opinions_needed is None
    found = verdict(compared(truth, good, bad))
    assert (found.decision, found.better) == ("block", False)
    assert found.macro_f1.decision == "block"
    assert len(found.blocking) == len(LABELS)


def test_what_is_alike_is_shipped_by_many_opinions_and_cannot_be_told_by_few() -> None:
    truth = gold(3000)
    a, b = flipped(truth, 0.1, 1), flipped(truth, 0.1, 2)
    many = verdict(compared(truth, a, b))
    assert (many.decision, many.better) == ("ship", False)
    pair = compared(truth[:60], a[:60], b[:60])
    few = verdict(pair)
    assert (few.decision, pair.opinions) == ("cannot_tell", 30)
    assert few.opinions_needed is not None
    assert few.opinions_needed_low is not None
    assert few.opinions_needed_high is not None
    assert 30 < few.opinions_needed_low < few.opinions_needed < few.opinions_needed_high
    assert few.opinions_needed < 1500  # by which it could be told above
    assert few.collect
    assert set(few.collect) < set(LABELS)


def test_by_as_many_opinions_as_are_asked_for_it_is_mostly_told() -> None:
    truth = gold(60)
    few = verdict(compared(truth, flipped(truth, 0.1, 1), flipped(truth, 0.1, 2)))
    needed = few.macro_f1.opinions_needed
    assert needed is not None
    told = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        more = (rng.random((2 * needed, len(LABELS))) < 0.4).astype(np.int8)
        sides = (flipped(more, 0.1, 100 + 2 * seed), flipped(more, 0.1, 101 + 2 * seed))
        told.append(verdict(compared(more, *sides)).macro_f1.decision == "ship")
    assert sum(told) >= 7  # of 12, each with 80%


def test_one_label_blocks_and_is_named() -> None:
    truth = gold(800)
    old = flipped(truth, 0.1, 1)
    new = old.copy()
    new[:, ANGER] = flipped(truth, 0.4, 3)[:, ANGER]
    found = verdict(compared(truth, old, new))
    assert (found.decision, found.blocking) == ("block", ["anger"])
    without = verdict(compared(truth, old, new, Margins(0.03)))
    assert (without.decision, without.labels) == ("ship", {})
    # A wide margin of its own lets the loss pass.
    wide = verdict(compared(truth, old, new, Margins(0.03, 0.02, {"anger": 0.6})))
    assert wide.labels["anger"].decision == "ship"
    assert wide.decision == "ship"


def test_a_label_with_a_margin_of_its_own_has_to_be_shown_to_be_as_good() -> None:
    truth = gold(1500)
    a, b = flipped(truth, 0.1, 1), flipped(truth, 0.1, 2)
    assert verdict(compared(truth, a, b)).decision == "ship"
    found = verdict(compared(truth, a, b, Margins(0.02, 0.02, {"anger": 0.01})))
    assert (found.decision, found.undecided, found.collect) == ("cannot_tell", ["anger"], ["anger"])
    assert found.opinions_needed == found.labels["anger"].opinions_needed
    absent = verdict(compared(truth, a, b, Margins(0.02, 0.02, {"joy of another file": 0.01})))
    assert (absent.decision, absent.opinions_needed) == ("cannot_tell", None)


def test_identical_variants_are_shipped_however_few() -> None:
    truth = gold(60)
    a = flipped(truth, 0.1, 1)
    pair = compared(truth, a, a)
    found = verdict(pair)
    assert (found.decision, found.better) == ("ship", False)
    assert (found.macro_f1.low, found.macro_f1.high) == (0, 0)
    assert pair.overall["macro_f1_supported"].at_most == 0


@pytest.mark.parametrize(("rows", "told"), [(120, "cannot_tell"), (8000, "ship")])
def test_variants_that_hardly_ever_disagree_are_bounded(rows: int, told: str) -> None:
    truth = gold(rows)
    a = flipped(truth, 0.1, 1)
    b = a.copy()
    b[:6:2] = 1 - b[:6:2]  # three opinions, every label
    pair = compared(truth, a, b)
    assert pair.overall["macro_f1_supported"].difference is not None
    assert pair.overall["macro_f1_supported"].difference.no_interval == "too_few_disagreements"
    found = verdict(pair)
    assert found.decision == told
    low, high = found.macro_f1.low, found.macro_f1.high
    assert low is not None
    assert high is not None
    difference = pair.overall["macro_f1_supported"].difference.value
    assert low < difference < high
    assert low == -high


def test_a_candidate_whose_answers_cannot_be_used_is_blocked_by_that() -> None:
    truth = gold(800)
    a = flipped(truth, 0.1, 1)
    lost = [AnswerStatus.TRUNCATED if i % 10 == 0 else AnswerStatus.OK for i in range(len(truth))]
    found = verdict(compared(truth, a, Answers(flipped(truth, 0.05, 2), lost)))
    assert (found.decision, found.usable_answers.decision) == ("block", "block")
    assert found.macro_f1.decision == "ship"


def test_without_replicates_nothing_is_told_and_without_margins_no_verdict_made() -> None:
    truth = gold(200)
    a, b = flipped(truth, 0.1, 1), flipped(truth, 0.3, 2)
    found = verdict(compared(truth, a, b, replicates=0))
    assert (found.decision, found.opinions_needed) == ("cannot_tell", None)
    assert compared(truth, a, b, margins=None).verdict is None


def test_a_label_that_too_few_opinions_have_asks_for_as_many_as_hold_enough() -> None:
    truth = gold(400)
    truth[:, ANGER] = 0
    truth[:8:2, ANGER] = 1  # four opinions of 200
    a, b = flipped(truth, 0.1, 1), flipped(truth, 0.1, 2)
    found = verdict(compared(truth, a, b, Margins(0.5, 0.02, {"anger": 0.05})))
    assert (found.decision, found.undecided) == ("cannot_tell", ["anger"])
    assert found.opinions_needed == 200 * 10 / (4 + 1)


def test_near_the_margin_it_is_said_how_many_would_tell_the_difference_as_seen() -> None:
    truth = gold(800)
    answers = {"old": Answers(flipped(truth, 0.1, 1)), "new": Answers(flipped(truth, 0.14, 2))}
    scope = Scope.of(list(answers), LABELS, pairs=[("old", "new")], replicates=200)
    ids = {"opinion_id": [str(i) for i in range(len(truth))]}
    state = reduce_batches([batch(truth, answers, ids)], scope)
    sides = [(state.slices[ALL][v], state.resamples[ALL][v]) for v in answers]
    change = overall_changes(state.pairs[ALL]["old", "new"], (sides[0], sides[1]))["macro_f1"]
    assert change.contrast is not None
    seen = -change.contrast.difference
    found = judged(change, seen + 0.002, 800)
    assert found.decision == "cannot_tell"
    assert found.opinions_needed is not None
    assert found.opinions_needed > 800
    unbounded = replace(change, contrast=None, disagreements=None)
    assert judged(unbounded, seen, 800).opinions_needed is None
