"""Areas for attention, recommendations and trade-offs: said where they should be, or not."""

import numpy as np
import pytest

from medsent.config.labels import LABELS
from medsent.metrics.estimate import Estimate
from medsent.metrics.findings.bounds import BELIEVABLE, CALIBRATED, FEWEST_OPINIONS, VISIBLE
from medsent.metrics.findings.support import records_needed
from medsent.metrics.model import Metrics
from medsent.metrics.significance import below
from medsent.metrics.statistics.changes import FEW_DISAGREEING
from tests.report.said import (
    AFTER,
    BEFORE,
    FINETUNED,
    HEADLINE,
    PAIR,
    estimate,
    one,
    pair_of,
    put,
    puts,
    said,
    value_of,
    without_losses,
)


def test_too_few_opinions_to_tell(run: Metrics) -> None:
    found = one(run, "too_few_to_tell")
    assert found.labels == ["vulgar", "political"]
    assert found.numbers == {
        "labels": 2,
        "records": 594,
        "opinions_needed": 10,
        "opinions_vulgar": 0,
        "opinions_political": 2,
    }
    assert found.text.startswith(
        "2 labels occur in too few opinions to say anything of them: vulgar (0 opinions) and "
        "political (2 opinions), in 594 records."
    )
    assert "About 1,980 records" in found.text
    assert "with so few, it may be 1,117 to 5,390" in found.text
    assert "How many it takes for vulgar cannot be said" in found.text
    more = one(run, "collect_more")
    assert (more.section, more.labels) == ("recommendations", ["political"])
    assert more.numbers["records_needed"] == 594 * 10 / (2 + 1)
    low, high = (more.numbers[f"records_needed_{end}"] for end in ("low", "high"))
    assert (low, high) == (1_117, 5_390)
    enough = put(run, f"{PAIR}/labels/political/opinions", FEWEST_OPINIONS)
    assert one(enough, "too_few_to_tell").labels == ["vulgar"]
    alone = "1 label occurs in too few opinions to say anything of it: vulgar (0 opinions), in"
    assert one(enough, "too_few_to_tell").text.startswith(alone)
    assert not said(enough, "collect_more")
    none = put(enough, f"{PAIR}/labels/vulgar/opinions", FEWEST_OPINIONS)
    assert not said(none, "too_few_to_tell")


def test_the_records_that_a_rare_label_takes_are_within_the_range_in_4_of_5_runs() -> None:
    """Of labels at random rates, each run's rarest that occurs."""
    rng = np.random.default_rng(0)
    held, ratios = [], []
    for _ in range(2_000):
        rates = rng.choice([0.01, 0.02, 0.03, 0.05], 3)
        seen = rng.poisson(150 * rates)
        few = {str(i): int(n) for i, n in enumerate(seen) if 0 < n < FEWEST_OPINIONS}
        needed = records_needed(few, 150)
        if needed is None:
            continue
        rarest = min(few, key=lambda name: few[name])
        true = FEWEST_OPINIONS / rates[int(rarest)]
        held.append(needed.low <= true <= needed.high)
        ratios.append(needed.records / true)
    assert np.mean(held) > 0.78
    assert np.median(ratios) == pytest.approx(1, abs=0.25)


def test_too_few_opinions_in_a_run_that_compares_nothing(alone: Metrics) -> None:
    found = said(alone, "too_few_to_tell")
    assert [each.variants for each in found] == [[BEFORE], [AFTER]]
    assert [each.numbers["records"] for each in found] == [594, 609]


def test_too_few_disagreements_and_no_variation(run: Metrics) -> None:
    calm = f"{PAIR}/labels/calm"
    untested = puts(run, **{f"{calm}/p": None, f"{calm}/p_corrected": None})
    seldom = put(untested, f"{calm}/disagreeing", FEW_DISAGREEING - 1)
    found = one(seldom, "too_few_disagreements")
    assert found.labels == ["calm"]
    assert found.numbers["disagreeing_calm"] == 6
    assert "calm on 6 opinions, of 594 records. A test takes 7 opinions" in found.text
    often = put(untested, f"{calm}/disagreeing", FEW_DISAGREEING)
    assert one(often, "no_variation").numbers["disagreeing_calm"] == 7
    for rule in ("too_few_disagreements", "no_variation"):
        assert not said(run, rule)
    assert not said(often, "too_few_disagreements")
    assert not said(seldom, "no_variation")


def test_differences_that_these_data_can_miss(run: Metrics) -> None:
    found = one(run, "detectable")
    changes = pair_of(run).labels
    assert found.labels == [
        label for label in LABELS if (changes[label].detectable or 0.0) > VISIBLE
    ]
    assert found.numbers["detectable_calm"] == changes["calm"].detectable
    assert "calm 13.9" in found.text
    assert "in 4 of 5 runs, before correction for the number of labels, in points" in found.text
    for label in LABELS:
        run = put(run, f"{PAIR}/labels/{label}/detectable", VISIBLE)
    assert not said(run, "detectable")


def test_how_much_data_is_enough(run: Metrics) -> None:
    for label in LABELS:
        for name in ("detectable", "detectable_low", "detectable_high"):
            run = put(run, f"{PAIR}/labels/{label}/{name}", 0.05)
    assert not said(run, "enough_data")
    other = puts(
        run,
        **{
            f"{PAIR}/labels/calm/detectable": 0.15,
            f"{PAIR}/labels/calm/detectable_low": 0.10,
            f"{PAIR}/labels/fear/detectable": 0.10,
            f"{PAIR}/labels/fear/detectable_high": 0.20,
        },
    )
    found = one(other, "enough_data")
    assert found.labels == ["calm", "fear"]
    assert found.numbers["times"] == pytest.approx(9)
    assert found.numbers["records_fear"] == 4 * 594
    assert found.numbers["records_needed"] == pytest.approx(9 * 594, abs=1)
    assert (found.numbers["times_low"], found.numbers["times_high"]) == pytest.approx((4, 16))
    assert "takes 4.0 to 16.0 times as many opinions" in found.text
    assert "2,376 to 9,504 records in place of 594" in found.text
    assert "calm needs the most" in found.text
    assert "in 4 of 5 runs and before correction for the number of labels" in found.text


def test_unusable_answers(run: Metrics) -> None:
    found = one(run, "answers_unusable")
    assert found.variants == [BEFORE]
    assert found.numbers["answered"] == 594
    assert found.numbers["status_invalid_answer"] == 15
    assert "That is below 99% by more than chance would give." in found.text
    assert "The others: not in the form that was asked for (15)." in found.text
    rate = f"variants/{BEFORE}/overall/generation_success_rate"
    wide = put(run, rate, estimate(0.98, 0.90, 0.995))
    assert "99% is within what chance would give" in one(wide, "answers_unusable").text
    assert not said(put(run, rate, estimate(0.99, 0.97, 0.995)), "answers_unusable")


@pytest.mark.parametrize(
    ("rule", "rate", "told"),
    [
        ("low_recall", "recall", "finetuned misses more records with the label than it finds for"),
        ("low_precision", "precision", "finetuned is wrong more often than right where it gives"),
    ],
)
def test_labels_below_one_half(run: Metrics, rule: str, rate: str, told: str) -> None:
    assert not said(run, rule)
    calm = f"{FINETUNED}/labels/calm/{rate}"
    found = one(put(run, calm, estimate(0.2, 0.12, 0.3)), rule)
    assert (found.labels, found.variants) == (["calm"], [AFTER])
    assert found.numbers == {
        "labels": 1,
        "bound": 0.5,
        f"{rate}_calm": 0.2,
        f"{rate}_calm_low": 0.12,
        f"{rate}_calm_high": 0.3,
    }
    assert found.text.startswith(told)
    assert "calm 20.0% (95% interval 12.0 to 30.0)" in found.text
    assert not said(put(run, calm, estimate(0.42, 0.35, 0.49)), rule)
    assert not said(put(run, calm, Estimate(value=0.1)), rule)
    assert not said(put(run, f"variants/{BEFORE}/labels/calm/{rate}", None), rule)


def test_an_interval_is_widened_for_the_number_of_figures() -> None:
    figure = estimate(0.42, 0.35, 0.49)
    assert below(figure, 0.5, among=1)
    assert not below(figure, 0.5, among=21)
    assert below(figure, 0.55, among=21)
    assert not below(None, 0.5, among=1)
    assert not below(Estimate(value=0.1), 0.5, among=1)


def test_probabilities_that_cannot_be_believed(run: Metrics) -> None:
    found = one(run, "miscalibrated")
    calibration = run.variants[AFTER].calibration
    assert calibration is not None
    assert found.labels == [
        label for label in LABELS if (calibration.labels[label].ece or 0.0) > BELIEVABLE
    ]
    label = found.labels[0]
    assert found.numbers[f"ece_{label}"] == calibration.labels[label].ece
    assert "These errors have no interval." in found.text
    path = f"{FINETUNED}/calibration/labels/{label}"
    for changed, value in ((f"{path}/records", CALIBRATED - 1), (f"{path}/ece", BELIEVABLE)):
        said_of = said(put(run, changed, value), "miscalibrated")
        assert all(label not in each.labels for each in said_of)
    assert not said(put(run, f"{FINETUNED}/calibration", None), "miscalibrated")


def test_a_slice_that_goes_the_other_way(run: Metrics) -> None:
    assert not said(run, "slice_against")
    polish = f"{PAIR}/slices/language=pl"
    other = put(run, f"{polish}/difference", estimate(-0.1, -0.15, -0.05))
    found = one(other, "slice_against")
    assert found.slices == ["language=pl"]
    assert found.numbers["difference"] == -0.1
    assert found.numbers["records"] == run.variants[AFTER].slices["language=pl"].overall.rows
    assert "For language pl, macro F1 of finetuned is lower than that of baseline" in found.text
    assert f", of {found.numbers['records']} records scored. Over all" in found.text
    assert not said(put(other, f"{polish}/p_corrected", 0.05), "slice_against")
    assert not said(put(other, f"{HEADLINE}/p", 0.05), "slice_against")


def test_a_slice_behind_the_whole_over_the_same_labels(run: Metrics) -> None:
    assert not said(run, "slice_behind")
    english = run.variants[AFTER].slices["language=en"].overall
    figures = [run.variants[AFTER].labels[label].f1 for label in english.supported_labels]
    whole = sum(figure.value for figure in figures if figure is not None) / len(figures)
    path = f"{FINETUNED}/slices/language=en/overall/macro_f1_supported"
    found = one(put(run, path, estimate(0.5, 0.45, 0.55)), "slice_behind")
    assert found.slices == ["language=en"]
    assert found.numbers["whole"] == pytest.approx(whole)
    assert found.numbers["labels"] == len(figures)
    near = estimate(whole - 0.06, whole - 0.11, whole - 0.002)
    assert not said(put(run, path, near), "slice_behind")
    few = f"{FINETUNED}/slices/language=en/overall/supported_labels"
    assert not said(puts(run, **{path: estimate(0.5, 0.45, 0.55), few: []}), "slice_behind")


def test_much_of_the_input_in_quarantine(run: Metrics) -> None:
    found = one(run, "quarantine")
    assert found.numbers["share"] == pytest.approx(31 / 640)
    assert found.numbers["reason_empty_text"] == 20
    assert found.text.startswith("31 of 640 input records (4.8%) were not scored")
    few = puts(run, **{"records/input": 3100, "records/scored": 3069})
    assert not said(few, "quarantine")


def test_time_against_f1(run: Metrics) -> None:
    found = one(run, "speed_against_f1")
    speeds = [run.variants[name].throughput for name in (BEFORE, AFTER)]
    base, candidate = (speed.seconds_per_record for speed in speeds if speed is not None)
    assert base is not None
    assert candidate is not None
    assert found.numbers["time_ratio"] == pytest.approx(candidate / base)
    assert "0.75 times as long for a record as baseline" in found.text
    assert "Its macro F1 over the labels with enough opinions is higher: +30.5" in found.text
    speed = f"{FINETUNED}/throughput"
    alike = put(run, f"{speed}/seconds_per_record", 1.05 * base)
    shared = put(run, f"{speed}/shared_s", run.variants[AFTER].throughput.busy_s)
    untimed = put(run, speed, None)
    untested = put(run, f"{HEADLINE}/p", None)
    for other in (alike, shared, untimed, untested):
        assert not said(other, "speed_against_f1")
    undecided = put(run, f"{HEADLINE}/p", 0.3)
    assert "No difference in macro F1" in one(undecided, "speed_against_f1").text


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_precision_against_recall(run: Metrics, average: str) -> None:
    assert not said(run, "precision_against_recall")
    lower, higher = estimate(-0.1, -0.15, -0.05), estimate(0.1, 0.05, 0.15)
    for name, figure in (("precision", lower), ("recall", higher)):
        change = run.comparisons[0].overall["macro_f1_supported"]
        other = change.model_copy(update={"difference": figure})
        run = put(run, f"{PAIR}/overall/{average}_{name}", other)
    found = one(run, "precision_against_recall")
    assert f"{average} precision is lower than that of baseline, −10.0 points" in found.text
    assert f"{average} recall is higher, +10.0 points" in found.text
    assert found.numbers["precision_difference"] == -0.1
    assert found.numbers["recall_low"] == 0.05
    undecided = put(run, f"{PAIR}/overall/{average}_recall/p", 0.05)
    assert not said(undecided, "precision_against_recall")


def test_replace_the_baseline_only_where_nothing_is_lower(run: Metrics) -> None:
    assert not said(run, "roll_out")
    clear = without_losses(run)
    found = one(clear, "roll_out")
    assert found.text.startswith("Use finetuned in place of baseline: its macro F1")
    assert (found.numbers["tested"], found.numbers["higher"]) == (19, 17)
    assert not said(clear, "too_early")
    assert not said(clear, "no_ground")
    loss = estimate(-0.1, -0.15, -0.05)
    success = f"{PAIR}/overall/generation_success_rate"
    for lowered in (
        put(clear, f"{PAIR}/slices/language=pl/difference", loss),
        puts(clear, **{f"{success}/difference": loss, f"{success}/p": 0.01}),
    ):
        assert not said(lowered, "roll_out")


def test_it_is_too_early_where_most_labels_have_no_test(run: Metrics) -> None:
    run = without_losses(run)
    for label in LABELS[:9]:
        for name in ("p", "p_corrected"):
            run = put(run, f"{PAIR}/labels/{label}/{name}", None)
    found = one(run, "too_early")
    assert found.numbers["tested"] == 10
    assert found.text.startswith("Do not yet replace baseline by finetuned.")
    assert not said(run, "roll_out")


def test_keep_the_baseline_where_it_is_higher(run: Metrics) -> None:
    found = one(run, "keep_baseline")
    assert found.labels == ["ironic"]
    assert found.numbers["difference_ironic"] == value_of(run, "ironic")
    assert found.numbers["p_corrected_ironic"] == pair_of(run).labels["ironic"].p_corrected
    assert "ironic −22.4 points (95% interval −32.8 to −11.9), on 594 records." in found.text
    assert "the lower F1, or keep it altogether where that label matters: ironic" in found.text


def test_tune_thresholds_where_the_curve_is_above_the_interval(run: Metrics) -> None:
    assert not said(run, "tune_thresholds")
    figure = run.variants[AFTER].labels["calm"].f1
    assert figure is not None
    curve = f"{FINETUNED}/calibration/labels/calm/curve"
    run = put(run, f"{curve}/thresholds", [0.1, 0.2, 0.3, 0.4])
    found = one(put(run, f"{curve}/f1", [None, 0.97, 0.5, 0.97]), "tune_thresholds")
    assert found.labels == ["calm"]
    assert found.numbers == {
        "labels": 1,
        "records": 609,
        "f1_calm": figure.value,
        "high_calm": figure.high,
        "best_f1_calm": 0.97,
        "threshold_calm": 0.2,
    }
    assert "calm 97.0% at 0.20 against" in found.text
    assert "expect less on others" in found.text
    for f1 in (figure.high, None):
        assert not said(put(run, f"{curve}/f1", [f1] * 4), "tune_thresholds")
