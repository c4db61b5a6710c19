"""What the rules say of a comparison, and of any run: the right numbers, or nothing."""

import json
import re
from collections.abc import Iterator

import pytest

from medsent.config.labels import LABELS
from medsent.metrics.findings.catalogue import RULES, find
from medsent.metrics.findings.wording import part
from medsent.metrics.model import Metrics
from medsent.report.definitions import definitions
from tests.report import reference
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
from tests.report.sample import metrics

pytestmark = pytest.mark.slow


def test_macro_f1_is_higher(run: Metrics) -> None:
    found = one(run, "overall_change")
    change = pair_of(run).overall["macro_f1_supported"]
    assert change.difference is not None
    assert found.section == "key_findings"
    assert found.variants == [BEFORE, AFTER]
    assert found.numbers == {
        "baseline": change.baseline,
        "candidate": change.candidate,
        "difference": change.difference.value,
        "low": change.difference.low,
        "high": change.difference.high,
        "p": change.p,
        "detectable": change.detectable,
        "labels": 19,
        "records": 594,
    }
    assert found.text.startswith(
        "Over the 19 labels with enough opinions, finetuned has a higher macro F1 than baseline: "
        "79.4% against 48.9%, +30.5 points (95% interval +28.6 to +32.4), on 594 records."
    )
    assert "A true difference of 2.7 points would show in 4 of 5 such runs" in found.text


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("p", 0.05, "no difference in macro F1 was found between finetuned and baseline"),
        ("difference", estimate(-0.1, -0.2, -0.05), "has a lower macro F1 than"),
        ("p", None, "finetuned and baseline differ in macro F1 (some labels have too few opinions"),
    ],
)
def test_macro_f1_is_called_what_the_test_says(
    run: Metrics, path: str, value: object, told: str
) -> None:
    other = put(run, f"{HEADLINE}/{path}", value)
    assert told in one(other, "overall_change").text
    assert "higher" not in one(other, "overall_change").text
    if value is None:
        why = "since some labels have too few opinions to tell; the difference is +30.5 points"
        assert f"could not be tested, {why}" in one(other, "no_ground").text
    assert not said(other, "roll_out")
    assert len(said(other, "no_ground")) == 1


def test_an_undefined_macro_f1_is_not_compared(run: Metrics) -> None:
    for name in ("macro_f1", "macro_f1_supported"):
        run = put(run, f"{PAIR}/overall/{name}/difference", None)
    assert not said(run, "overall_change")
    assert not said(run, "no_ground")


def test_macro_f1_over_all_labels_where_it_has_an_interval(run: Metrics) -> None:
    whole = run.comparisons[0].overall["macro_f1_supported"]
    found = one(put(run, f"{PAIR}/overall/macro_f1", whole), "overall_change")
    assert found.text.startswith("Over the 20 labels where F1 is defined, finetuned has a higher")
    assert found.numbers["labels"] == 20


def test_labels_are_counted_and_named_by_the_corrected_test(run: Metrics) -> None:
    higher, lower = one(run, "labels_higher"), one(run, "labels_lower")
    assert (len(higher.labels), lower.labels) == (17, ["ironic"])
    assert higher.numbers["labels"] == 17
    assert higher.numbers["tested"] == 19
    changes = pair_of(run).labels
    sizes = [value_of(run, label) for label in higher.labels]
    assert sizes == sorted(sizes, reverse=True)
    assert higher.numbers["difference_fear"] == value_of(run, "fear")
    nearest = min(changes[label].difference.low for label in higher.labels)
    assert higher.numbers["nearest_low"] == nearest
    assert lower.numbers["nearest_high"] == changes["ironic"].difference.high
    p_values = [changes[label].p_corrected for label in higher.labels]
    assert higher.numbers["largest_p_corrected"] == max(p_values) < 0.05
    assert "for 17 of 19 labels that could be tested: fear +72.9, " in higher.text
    tenth = higher.labels[9]
    assert f", {tenth} +{100 * value_of(run, tenth):.1f} points and 7 more. The 95%" in higher.text
    assert higher.labels[10] not in higher.text
    assert len([name for name in higher.numbers if name.startswith("difference_")]) == 17
    assert "ironic −22.4 points. Its 95% interval is −32.8 to −11.9, on 594 records" in lower.text


def test_a_label_at_the_bound_of_p_is_undecided_and_never_called_equal(run: Metrics) -> None:
    other = put(run, f"{PAIR}/labels/calm/p_corrected", 0.05)
    assert "calm" not in one(other, "labels_higher").labels
    found = one(other, "labels_undecided")
    assert found.labels == ["calm", "offensive"]
    detectable = [pair_of(run).labels[label].detectable for label in found.labels]
    assert found.numbers == {
        "labels": 2,
        "records": 594,
        "least_detectable": detectable[0],
        "most_detectable": detectable[1],
    }
    assert "does not say that there is none" in found.text
    assert "in 4 of 5 runs, before correction for the number of labels, only if" in found.text
    assert "13.9 points or more for calm, up to 35.8 points or more for offensive" in found.text


def test_a_rough_interval_is_counted(run: Metrics) -> None:
    assert "rough" not in one(run, "labels_lower").text
    other = put(run, f"{PAIR}/labels/ironic/difference/rough", True)
    assert one(other, "labels_lower").text.endswith(" It rests on few opinions and is rough.")
    assert "(95% interval −32.8 to −11.9, rough)" in one(other, "standout_loss").text


def test_rough_intervals_among_several_labels_are_counted(run: Metrics) -> None:
    one_of_them = " 1 of these 17 rests on few opinions and is rough."
    assert one(run, "labels_higher").text.endswith(one_of_them)
    other = put(run, f"{PAIR}/labels/fear/difference/rough", True)
    two = " 2 of these 17 rest on few opinions and are rough."
    assert one(other, "labels_higher").text.endswith(two)


def test_without_losses_nothing_is_said_to_be_lower(run: Metrics) -> None:
    other = without_losses(run)
    for rule in ("labels_lower", "standout_loss", "keep_baseline"):
        assert said(run, rule)
        assert not said(other, rule)


def test_a_gain_stands_out_where_its_interval_is_above_the_averages(run: Metrics) -> None:
    found = said(run, "standout_gain")
    assert [each.labels for each in found] == [["fear"], ["embarassing"]]
    average = pair_of(run).overall["macro_f1_supported"].difference
    assert average is not None
    fear = found[0].numbers
    assert fear["low"] > fear["average_high"] == average.high
    assert fear["opinions"] == pair_of(run).labels["fear"].opinions == 32
    assert "Its whole interval lies above that of the change in average F1, +30.5" in found[0].text
    assert found[0].text.endswith(" 32 opinions have the label.")
    other_records = put(run, f"{FINETUNED}/labels/fear/support", 999)
    assert said(other_records, "standout_gain")[0] == found[0]  # compared are those of both alone
    touching = put(run, f"{PAIR}/labels/fear/difference/low", average.high)
    assert [each.labels for each in said(touching, "standout_gain")] == [["embarassing"]]
    untested = put(run, f"{PAIR}/labels/fear/p_corrected", 0.06)
    assert [each.labels for each in said(untested, "standout_gain")] == [["embarassing"]]


def test_five_gains_stand_out_at_most(run: Metrics) -> None:
    for index, label in enumerate(LABELS[:7]):
        value = 0.9 - index / 100
        run = put(run, f"{PAIR}/labels/{label}/difference", estimate(value, 0.8, 0.95))
    assert [each.labels[0] for each in said(run, "standout_gain")] == list(LABELS[:5])


def test_a_loss_stands_out_where_its_interval_is_below_the_averages(run: Metrics) -> None:
    found = one(run, "standout_loss")
    assert found.labels == ["ironic"]
    assert found.numbers["high"] < found.numbers["average_low"]
    assert "Its whole interval lies below that of the change in average F1, +30.5" in found.text
    falling = put(run, f"{HEADLINE}/difference", estimate(-0.2, -0.3, -0.1))
    assert not said(falling, "standout_loss")


def test_without_replicates_nothing_is_claimed() -> None:
    found = find(metrics(replicates=0))
    assert [each.rule for each in found] == ["untested", "quarantine"]
    assert found[0].numbers == {"replicates": 0, "records": 609}
    assert "nothing is claimed of these 609 records" in found[0].text


def test_without_a_comparison_rules_speak_of_single_variants(alone: Metrics) -> None:
    found = find(alone)
    assert all(len(each.variants) == 1 for each in found if each.rule != "quarantine")
    macro = said(alone, "macro_alone")
    assert [each.variants for each in macro] == [[BEFORE], [AFTER]]
    figure = alone.variants[AFTER].overall.macro_f1_supported
    assert figure is not None
    assert macro[1].numbers == {
        "macro_f1": figure.value,
        "macro_f1_low": figure.low,
        "macro_f1_high": figure.high,
        "labels": 19,
        "records": 609,
    }
    assert {each.rule for each in found} >= {"low_recall", "miscalibrated", "tune_thresholds"}


def test_without_gold_only_counts_are_told() -> None:
    found = find(metrics(gold=False))
    assert [each.rule for each in found] == ["answers_unusable", "quarantine"]
    assert find(metrics(rows=0)) == []


def test_each_rule_has_a_name_of_its_own_and_a_definition(run: Metrics) -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    defined = {term.id for term in definitions(21, repeated=True)}
    assert {f"rule-{name}" for name in names} <= defined
    assert run.findings == find(run)
    assert {each.rule for each in run.findings} <= set(names)


def keys_of(part: object) -> Iterator[str]:
    """Yield every word with an underscore in the keys of a run's metrics.json.

    What stands behind a slice's `=` is the user's own, and told as it is.
    """
    if isinstance(part, dict):
        for key, inner in part.items():
            yield from re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)+", key.partition("=")[0])
            yield from keys_of(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from keys_of(inner)


def test_no_key_of_the_numbers_stands_in_a_sentence(run: Metrics, alone: Metrics) -> None:
    behind = f"{PAIR}/slices/persona=emergency_nurse/difference"
    lower = put(run, behind, estimate(-0.2, -0.3, -0.1))
    for each in (run, alone, lower, reference.metrics("most"), reference.metrics("fewest")):
        keys = set(keys_of(json.loads(each.to_json())))
        assert {"nearest_low", "generation_success_rate"} <= keys | {"nearest_low"}
        for finding in find(each):
            assert not keys & set(re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)+", finding.text))


def test_a_slices_column_is_told_in_words_and_its_value_as_it_is(run: Metrics) -> None:
    assert part("age_group=over_60=yes") == "age group over_60=yes"
    path = f"{PAIR}/slices/persona=emergency_nurse"
    lower = puts(
        run, **{f"{path}/difference": estimate(-0.2, -0.3, -0.1), f"{path}/p_corrected": 0.01}
    )
    assert "For persona emergency_nurse, macro F1" in one(lower, "slice_against").text


def test_sentences_are_whole_and_call_nothing_equal() -> None:
    runs = [metrics(), metrics(compare=()), metrics(rows=160), metrics(replicates=0)]
    for text in (finding.text for run in runs for finding in find(run)):
        assert not re.search(r"\b(equal|same F1|signifi\w*|nan|None|inf)\b", text)
        assert text.endswith(".")
        assert re.search(r"\d", text)
        assert "  " not in text
