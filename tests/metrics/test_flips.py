"""Repeats in a report's numbers: flips, how far figures move, and which differences that covers."""

import numpy as np
import pytest

from medsent.metrics.build import build_metrics
from medsent.metrics.findings.repeats import told
from medsent.metrics.model import Metrics, Run
from medsent.reducer.repeats import Repetition
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.write import summary
from tests.predicted import Answers, Matrix, batch

VARIANTS = ("old", "new")
LABELS = ("anger", "joy")
N = 200


def built(times: list[tuple[Matrix, Matrix]], gold: Matrix, runs: int | None = None) -> Metrics:
    """Return the numbers of a run whose variants answered so each time."""
    scope = Scope.of(VARIANTS, LABELS, pairs=[VARIANTS], replicates=50)
    columns = {"opinion_id": [f"o{i}" for i in range(len(gold))]}
    batches = [
        batch(gold, dict(zip(VARIANTS, map(Answers, each), strict=True)), columns, LABELS)
        for each in times
    ]
    counted = Repetition(scope, len(times))
    counted.add(batches)
    names = [f"run-repeat-{n}-f" for n in range(2, len(times) + 1)]
    return build_metrics(
        reduce_batches(batches[:1], scope),
        run=Run(name="run", fingerprint="f"),
        repeated=(counted, names) if len(times) > 1 else None,
    )


def noisy(truth: Matrix, share: float, seed: int) -> Matrix:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(truth.shape) < share, 1 - truth, truth).astype(np.int8)


@pytest.fixture(scope="module")
def gold() -> Matrix:
    return (np.random.default_rng(0).random((N, 2)) < 0.4).astype(np.int8)


def f1(truth: Matrix, said: Matrix) -> np.ndarray:
    tp = ((truth == 1) & (said == 1)).sum(axis=0)
    return 2 * tp / (truth.sum(axis=0) + said.sum(axis=0))


def test_figures_are_those_of_each_time(gold: Matrix) -> None:
    times = [(noisy(gold, 0.2, 1), noisy(gold, 0.18, seed)) for seed in (2, 3, 4)]
    found = built(times, gold)
    assert found.repeats is not None
    new = found.repeats.variants["new"]
    said = np.array([each[1] for each in times])
    flips = (said != said[0]).any(axis=0)
    assert [new.labels[name].flips for name in LABELS] == flips.sum(axis=0).tolist()
    assert (new.answered, new.flipped) == (N, int(flips.any(axis=1).sum()))
    by_time = np.array([f1(gold, each) for each in said])
    macro = by_time.mean(axis=1)
    assert new.overall["macro_f1"].low == pytest.approx(macro.min())
    assert new.overall["macro_f1"].high == pytest.approx(macro.max())
    # The old variant gave the same each time, so only the new one moves the difference.
    pair = found.comparisons[0]
    assert found.repeats.variants["old"].flipped == 0
    for name in ("macro_f1", "macro_f1_supported"):
        assert pair.overall[name].moved_by_repeats == pytest.approx(np.ptp(macro))
    for i, name in enumerate(LABELS):
        assert pair.labels[name].moved_by_repeats == pytest.approx(np.ptp(by_time[:, i]))
    assert pair.overall["generation_success_rate"].moved_by_repeats == 0


def rules(metrics: Metrics) -> dict[str, str]:
    return {each.rule: each.text for each in metrics.findings}


def test_a_difference_within_what_repeats_move_is_said_to_be_so(gold: Matrix) -> None:
    old, new = noisy(gold, 0.2, 1), noisy(gold, 0.2, 2)
    found = built([(old, new), (new, old)], gold)
    pair = found.comparisons[0]
    change = pair.overall["macro_f1"]
    assert change.difference is not None
    assert change.moved_by_repeats == pytest.approx(2 * abs(change.difference.value))
    assert "how requests were batched may alone have made it" in rules(found)["within_repeats"]
    assert any("is not larger than what asking" in line for line in summary(found))
    assert any("is not larger than what asking" in line for line in contents(found).verdict[1:])


def test_a_difference_beyond_it_is_not(gold: Matrix) -> None:
    old, new, again = noisy(gold, 0.4, 1), noisy(gold, 0.1, 2), noisy(gold, 0.1, 2)
    again[0] = 1 - again[0]
    found = built([(old, new), (old, again)], gold)
    assert "within_repeats" not in rules(found)
    assert (
        "did not give the same answer each time to 1 of 200 records" in rules(found)["asked_again"]
    )


def test_answers_that_are_the_same_each_time_are_said_to_be(gold: Matrix) -> None:
    sides = (noisy(gold, 0.2, 1), noisy(gold, 0.2, 2))
    found = built([sides, sides], gold)
    assert "within_repeats" not in rules(found)
    told_of = [each.text for each in found.findings if each.rule == "asked_again"]
    assert told_of == [
        f"Asked 2 times, {name} gave the same answer to each of 200 records each time."
        for name in VARIANTS
    ]


def test_a_run_without_repeats_has_no_word_of_them(gold: Matrix) -> None:
    sides = (noisy(gold, 0.2, 1), noisy(gold, 0.2, 2))
    once = built([sides], gold)
    assert once.repeats is None
    assert "repeat" not in once.to_json().split('"findings"')[0]
    text = render_markdown(contents(once))
    assert "Asked again" not in text
    assert "flip" not in text.split("## ")[1]


def test_tables_hold_each_label_and_difference(gold: Matrix) -> None:
    times = [(noisy(gold, 0.2, seed), noisy(gold, 0.2, seed + 1)) for seed in (1, 5)]
    text = render_markdown(contents(built(times, gold)))
    section = text.split("## Asked again")[1].split("\n## ")[0]
    assert "200 records, each asked 2 times: by this run and by run-repeat-2-f." in section
    for name in LABELS:
        assert section.count(f"F1 of {name}") == 2


def test_without_gold_flips_are_counted_and_no_figure_is_made_up() -> None:
    none = np.full((20, 2), -1, np.int8)
    said = noisy(np.zeros((20, 2), np.int8), 0.3, 1)
    found = built([(said, said), (said, 1 - said)], none)
    assert found.repeats is not None
    new = found.repeats.variants["new"]
    assert (new.flipped, new.overall["macro_f1"].low) == (20, None)
    assert told(new) == (
        "did not give the same answer each time to 20 of 20 records (100.0% of the labels flipped)"
    )
