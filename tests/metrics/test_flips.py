"""Repeats in a report's numbers: flips, how far figures move, and which differences that covers."""

import numpy as np
import numpy.typing as npt
import pytest

from medsent.metrics.build import build_metrics
from medsent.metrics.model import Metrics, Run
from medsent.metrics.repeats import RepeatedVariant, Repeats
from medsent.reducer.repeats import Repetition
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.definitions import definitions
from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.write import summary
from tests.predicted import Answers, Matrix, batch

VARIANTS = ("old", "new")
LABELS = ("anger", "joy")
N = 200
WITHIN = "is not larger than what asking"


def built(
    times: list[tuple[Matrix, Matrix]],
    gold: Matrix,
    *,
    replicates: int = 50,
    usable: list[str] | None = None,
    only: slice = slice(None),
) -> Metrics:
    """Return the numbers of a run whose variants answered so each time; `only` are in repeats."""
    scope = Scope.of(VARIANTS, LABELS, pairs=[VARIANTS], replicates=replicates)
    columns = {"opinion_id": [f"o{i}" for i in range(len(gold))]}
    batches = [
        batch(
            gold,
            {
                name: Answers(labels, usable if name == "new" and index else None)
                for name, labels in zip(VARIANTS, each, strict=True)
            },
            columns,
            LABELS,
        )
        for index, each in enumerate(times)
    ]
    counted = Repetition(scope, tuple(f"run-repeat-{n}-f" for n in range(2, len(times) + 1)))
    counted.add([each.take(np.arange(len(gold))[only]) for each in batches])
    return build_metrics(
        reduce_batches(batches[:1], scope),
        run=Run(name="run", fingerprint="f"),
        repeated=counted if len(times) > 1 else None,
    )


def repeats_of(metrics: Metrics) -> Repeats:
    assert metrics.repeats is not None
    return metrics.repeats


def new_of(metrics: Metrics) -> RepeatedVariant:
    return repeats_of(metrics).variants["new"]


def noisy(truth: Matrix, share: float, seed: int) -> Matrix:
    rng = np.random.default_rng(seed)
    flipped: Matrix = np.where(rng.random(truth.shape) < share, 1 - truth, truth).astype(np.int8)
    return flipped


@pytest.fixture(scope="module")
def gold() -> Matrix:
    return (np.random.default_rng(0).random((N, 2)) < 0.4).astype(np.int8)


def f1(truth: Matrix, said: Matrix) -> npt.NDArray[np.float64]:
    tp = ((truth == 1) & (said == 1)).sum(axis=0)
    return np.asarray(2 * tp / (truth.sum(axis=0) + said.sum(axis=0)))


def rules(metrics: Metrics) -> dict[str, str]:
    return {each.rule: each.text for each in metrics.findings}


def test_figures_are_those_of_each_time(gold: Matrix) -> None:
    times = [(noisy(gold, 0.2, 1), noisy(gold, 0.18, seed)) for seed in (2, 3, 4)]
    found = built(times, gold)
    new = new_of(found)
    said = np.array([each[1] for each in times])
    flips = (said != said[0]).any(axis=0)
    assert [new.labels[name].flips for name in LABELS] == flips.sum(axis=0).tolist()
    assert (new.asked, new.answered, new.flipped) == (N, N, int(flips.any(axis=1).sum()))
    by_time = np.array([f1(gold, each) for each in said])
    macro = by_time.mean(axis=1)
    assert new.overall["macro_f1"].low == pytest.approx(macro.min())
    assert new.overall["macro_f1"].high == pytest.approx(macro.max())
    recall = [each[:, 0][gold[:, 0] == 1].mean() for each in said]
    assert new.labels["anger"].figures["recall"].low == pytest.approx(min(recall))
    # The old variant gave the same each time, so only the new one moves the difference.
    [pair] = repeats_of(found).comparisons
    assert repeats_of(found).variants["old"].flipped == 0
    before = f1(gold, times[0][0])
    for name in ("macro_f1", "macro_f1_supported"):
        assert pair.overall[name].moved == pytest.approx(np.ptp(macro))
        assert pair.overall[name].difference == pytest.approx(macro[0] - before.mean())
    for i, name in enumerate(LABELS):
        assert pair.labels[name].moved == pytest.approx(np.ptp(by_time[:, i]))
    assert pair.overall["generation_success_rate"].moved == 0


@pytest.mark.parametrize("replicates", [0, 50])
def test_a_difference_within_what_repeats_move_is_said_to_be_so(
    gold: Matrix, replicates: int
) -> None:
    old, new = noisy(gold, 0.2, 1), noisy(gold, 0.2, 2)
    found = built([(old, new), (new, old)], gold, replicates=replicates)
    change = repeats_of(found).comparisons[0].overall["macro_f1"]
    assert change.difference is not None
    assert change.moved == pytest.approx(2 * abs(change.difference))
    assert "how requests were batched may alone have made it" in rules(found)["within_repeats"]
    assert any(WITHIN in line for line in summary(found))
    assert any(WITHIN in line for line in contents(found).verdict[1:])


def test_a_difference_beyond_it_is_not(gold: Matrix) -> None:
    old, new = noisy(gold, 0.4, 1), noisy(gold, 0.1, 2)
    again = new.copy()
    again[0] = 1 - again[0]
    found = built([(old, new), (old, again)], gold)
    assert "within_repeats" not in rules(found)
    told = rules(found)["asked_again"]
    assert "did not give the same answer each time to 1 of 200 records (2 labels flipped)" in told


def test_a_difference_is_that_of_the_records_in_every_repeat(gold: Matrix) -> None:
    times = [(noisy(gold, 0.3, 1), noisy(gold, 0.3, seed)) for seed in (2, 3)]
    found = built(times, gold, only=slice(0, 40))
    assert (repeats_of(found).records, repeats_of(found).left_out) == (40, N - 40)
    change = repeats_of(found).comparisons[0].overall["macro_f1"]
    sides = [f1(gold[:40], each[:40]).mean() for each in times[0]]
    assert change.difference == pytest.approx(sides[1] - sides[0])
    assert any("40 records are compared; 160 are not in every one" in x for x in summary(found))
    assert "160 scored here are not in every repeat" in render_markdown(contents(found))


def test_no_record_in_every_repeat_is_told_and_no_variant_is_blamed(gold: Matrix) -> None:
    sides = (noisy(gold, 0.2, 1), noisy(gold, 0.2, 2))
    found = built([sides, sides], gold, only=slice(0, 0))
    assert "asked_again" not in rules(found)
    assert any("no record is in every repeat" in line for line in summary(found))
    assert "0 records, each asked 2 times" in render_markdown(contents(found))


def test_answers_that_are_the_same_each_time_are_said_to_be(gold: Matrix) -> None:
    sides = (noisy(gold, 0.2, 1), noisy(gold, 0.2, 2))
    found = built([sides, sides], gold)
    assert "within_repeats" not in rules(found)
    told_of = [each.text for each in found.findings if each.rule == "asked_again"]
    assert told_of == [
        f"Asked 2 times, {name} gave the same answer each time to all of 200 records."
        for name in VARIANTS
    ]


def test_answers_that_can_be_used_at_some_times_only_are_no_flips(gold: Matrix) -> None:
    sides = (noisy(gold, 0.2, 1), noisy(gold, 0.2, 2))
    usable = ["truncated"] * 7 + ["ok"] * (N - 7)
    found = built([sides, sides], gold, usable=usable)
    new = new_of(found)
    assert (new.answered, new.flipped, new.sometimes_answered) == (N - 7, 0, 7)
    rate = repeats_of(found).comparisons[0].overall["generation_success_rate"]
    assert rate.moved == pytest.approx(7 / N)
    assert "gave a usable answer to 7 others at some times only" in rules(found)["asked_again"]


def test_a_run_without_repeats_has_no_word_of_them(gold: Matrix) -> None:
    once = built([(noisy(gold, 0.2, 1), noisy(gold, 0.2, 2))], gold)
    assert '"repeats"' not in once.to_json()
    text = render_markdown(contents(once))
    for word in ("Asked again", "asked_again", "within_repeats", "flip"):
        assert word not in text
    names = {term.id for term in definitions(2, repeated=True)}
    assert {"repeats", "rule-asked_again", "rule-within_repeats"} <= names


def test_tables_hold_each_label_and_difference(gold: Matrix) -> None:
    times = [(noisy(gold, 0.2, seed), noisy(gold, 0.2, seed + 1)) for seed in (1, 5)]
    text = render_markdown(contents(built(times, gold)))
    section = text.split("## Asked again")[1].split("\n## ")[0]
    assert "200 records, each asked 2 times: here and in run-repeat-2-f." in section
    for name in LABELS:
        assert section.count(f"F1 of {name}") == 1
        assert section.count(f"\n| {name} |") == len(VARIANTS)


def test_without_gold_flips_are_counted_and_no_figure_is_made_up() -> None:
    none = np.full((20, 2), -1, np.int8)
    said = noisy(np.zeros((20, 2), np.int8), 0.3, 1)
    found = built([(said, said), (said, 1 - said)], none)
    assert (new_of(found).flipped, new_of(found).overall["macro_f1"].low) == (20, None)
    assert rules(found)["asked_again"] == (
        "Asked 2 times, new did not give the same answer each time to 20 of 20 records (40 labels "
        "flipped)."
    )
