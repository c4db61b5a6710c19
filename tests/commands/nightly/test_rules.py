"""Each rule closes beyond its limit, holds at it, and says what it cannot judge."""

from typing import Any

import pytest

from medsent.commands.drift import Drift, DriftSettings
from medsent.commands.nightly.gate import RuleName, Ruling
from medsent.commands.nightly.rules import Evidence, judge
from medsent.commands.nightly.settings import (
    FigureSettings,
    GateSettings,
    LabelSettings,
    QuarantineSettings,
    RecordsSettings,
    SpeedSettings,
)
from medsent.config.labels import LABELS
from medsent.metrics.estimate import Estimate
from medsent.metrics.model import Metrics
from tests.commands.nightly.evidence import (
    NIGHT,
    SAME,
    VARIANT,
    change,
    comparison,
    evidence,
    without_anchors,
)

OFF = GateSettings(
    records=None, labels=None, macro_f1=None, generation_success=None, records_per_s=None,
    quarantine=None, drift=None,
)  # fmt: skip


def rulings(found: Evidence, **asked: Any) -> list[Ruling]:
    return judge(found, OFF.model_copy(update=asked))


def statuses(found: Evidence, **asked: Any) -> set[str]:
    return {ruling.status for ruling in rulings(found, **asked)}


def overall(**figures: Any) -> Metrics:
    """Return the night with other overall figures."""
    variant = NIGHT.variants[VARIANT]
    changed = variant.model_copy(update={"overall": variant.overall.model_copy(update=figures)})
    return NIGHT.model_copy(update={"variants": {**NIGHT.variants, VARIANT: changed}})


def test_labels_that_only_one_run_has_are_not_judged_and_named() -> None:
    other = comparison().model_copy(
        update={
            "labels_left_out": {f"{VARIANT}@before": ["joy"], f"{VARIANT}@now": ["grief", "awe"]}
        }
    )
    found = evidence(reference=other)
    first, *rest = rulings(found, labels=LabelSettings(worse_by=0.02))
    assert (first.status, first.against, first.subject) == ("not_judged", "reference", None)
    assert first.message == (
        "labels that only one of the two has: the reference alone has joy; this night alone has "
        "grief, awe"
    )
    assert {ruling.status for ruling in rest} == {"holds"}
    assert len(rest) == 2 * len(LABELS)


@pytest.mark.parametrize(
    ("high", "status"), [(-0.0201, "closes"), (-0.02, "holds"), (0.01, "holds")]
)
@pytest.mark.parametrize("against", ["reference", "last_good"])
def test_a_label_closes_where_its_whole_interval_is_below(
    high: float, status: str, against: str
) -> None:
    worse = comparison({"anger": change(-0.06, -0.1, high)})
    found = rulings(evidence(**{against: worse}), labels=LabelSettings(worse_by=0.02))
    assert len(found) == 2 * len(LABELS)
    [ruling] = [r for r in found if (r.subject, r.against) == ("anger", against)]
    assert (ruling.status, ruling.value, ruling.low, ruling.high) == (status, -0.06, -0.1, high)
    assert ruling.limit == -0.02
    assert "80.0% → 74.0%" in ruling.message
    assert {r.status for r in found if r is not ruling} == {"holds"}


def test_it_is_the_corrected_interval_that_decides() -> None:
    wide = Estimate(value=-0.06, low=-0.12, high=0.0)
    worse = comparison(
        {"anger": change(-0.06, -0.09, -0.03, one_sided=wide, detectable_one_sided=0.08)}
    )
    found = rulings(evidence(reference=worse), labels=LabelSettings(worse_by=0.02))
    assert {ruling.status for ruling in found} == {"holds"}
    [ruling] = [r for r in found if (r.subject, r.against) == ("anger", "reference")]
    assert (ruling.low, ruling.high) == (-0.12, 0.0)
    # What it could have seen is told beside.
    assert ruling.visible == pytest.approx(-0.1)
    assert "a true −10.0 would close 4 of 5 such nights" in ruling.message


def test_a_label_that_too_few_opinions_have_is_not_judged() -> None:
    few = Estimate(value=-0.5, no_interval="too_few_opinions")
    rare = SAME.model_copy(update={"difference": few, "simultaneous": few})
    found = rulings(evidence(reference=comparison({"vulgar": rare})), labels=LabelSettings())
    [ruling] = [r for r in found if r.status == "not_judged"]
    assert (ruling.subject, ruling.against) == ("vulgar", "reference")
    assert "too few opinions to tell" in ruling.message


@pytest.mark.parametrize(("high", "status"), [(-0.011, "closes"), (-0.01, "holds")])
def test_macro_f1_may_not_drop(high: float, status: str) -> None:
    dropped = comparison(overall={"macro_f1_supported": change(-0.02, -0.03, high)})
    found = rulings(evidence(reference=dropped), macro_f1=FigureSettings(drop=0.01))
    assert [ruling.status for ruling in found] == [status, "holds"]
    # The candidate answers less often: that is another rule's matter.
    failing = comparison(overall={"generation_success_rate": change(-0.2, -0.3, -0.1)})
    assert statuses(evidence(reference=failing), macro_f1=FigureSettings(drop=0.01)) == {"holds"}
    assert "closes" in statuses(
        evidence(reference=failing), generation_success=FigureSettings(drop=0.05)
    )


@pytest.mark.parametrize(("value", "status"), [(0.599, "closes"), (0.6, "holds")])
def test_floors_are_for_the_figure_itself(value: float, status: str) -> None:
    night = overall(macro_f1=Estimate(value=value, low=0.5, high=0.7))
    [ruling] = rulings(evidence(night), macro_f1=FigureSettings(floor=0.6))
    assert ruling.status == status
    assert "the interval 50.0% to 70.0%, so that which side of the floor" in ruling.message
    night = overall(generation_success_rate=Estimate(value=value))
    assert statuses(evidence(night), generation_success=FigureSettings(floor=0.6)) == {status}


def test_an_undefined_figure_does_not_pass() -> None:
    night = overall(macro_f1=None)
    for settings in (FigureSettings(floor=0.6), FigureSettings(drop=0.01)):
        assert statuses(evidence(night), macro_f1=settings) == {"closes"}
    [ruling] = rulings(evidence(night), macro_f1=FigureSettings(floor=0.6, drop=0.01))
    assert "undefined" in ruling.message


@pytest.mark.parametrize(("records", "status"), [(949, "closes"), (950, "holds")])
def test_a_test_set_that_was_cut_short_closes(records: int, status: str) -> None:
    def holding(number: int) -> Metrics:
        update = {"records": NIGHT.records.model_copy(update={"input": number})}
        return NIGHT.model_copy(update=update)

    found = evidence(holding(records), before=holding(1000))
    [ruling] = rulings(found, records=RecordsSettings(of_reference=0.95))
    assert (ruling.status, ruling.value, ruling.limit) == (status, records / 1000, 0.95)
    assert f"{records} records, where the reference had 1,000" in ruling.message


def slowed(factor: float) -> Metrics:
    variant = NIGHT.variants[VARIANT]
    speed = variant.throughput
    assert speed is not None
    assert speed.records_per_s is not None
    speed = speed.model_copy(update={"records_per_s": speed.records_per_s * factor})
    variants = {**NIGHT.variants, VARIANT: variant.model_copy(update={"throughput": speed})}
    return NIGHT.model_copy(update={"variants": variants})


@pytest.mark.parametrize(("factor", "status"), [(0.49, "closes"), (0.5, "holds")])
def test_speed_is_judged_by_the_reference_and_by_a_floor(factor: float, status: str) -> None:
    night = slowed(factor)
    assert statuses(evidence(night), records_per_s=SpeedSettings(of_reference=0.5)) == {status}
    speed = slowed(0.5).variants[VARIANT].throughput
    assert speed is not None
    floor = SpeedSettings(of_reference=None, floor=speed.records_per_s)
    assert statuses(evidence(night), records_per_s=floor) == {status}
    untimed = NIGHT.variants[VARIANT].model_copy(update={"throughput": None})
    night = NIGHT.model_copy(update={"variants": {VARIANT: untimed}})
    assert statuses(evidence(night), records_per_s=floor) == {"not_judged"}


@pytest.mark.parametrize(("quarantined", "status"), [(11, "closes"), (10, "holds")])
def test_the_share_quarantined_has_a_limit(quarantined: int, status: str) -> None:
    update = {"input": 1000, "quarantined": quarantined, "by_reason": {"too_long": quarantined}}
    night = NIGHT.model_copy(update={"records": NIGHT.records.model_copy(update=update)})
    [ruling] = rulings(evidence(night), quarantine=QuarantineSettings(share=0.01))
    assert ruling.status == status
    assert f"too_long ({quarantined})" in ruling.message


def drift(kind: str, **values: Any) -> Drift:
    values = {"variant": None, "value": 0.3, "limit": 0.2, "alarm": False, **values}
    return Drift.model_validate({"kind": kind, "name": "x", "message": "x moved", **values})


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("label_rate", "label_rates"), ("population", "input"), ("quarantined", "quarantine")],
)
def test_drift_closes_by_its_alarm(kind: str, rule: RuleName) -> None:
    told = {"low": 0.1, "high": 0.4} if kind != "population" else {"chance": 0.1}
    drifts = [drift(kind, alarm=alarm, **told) for alarm in (True, False)]
    drifts += [drift(kind), drift(kind, limit=None)]
    found = rulings(evidence(drifts=drifts), drift=DriftSettings())
    assert [(r.rule, r.status) for r in found] == [
        (rule, "closes"),
        (rule, "holds"),
        (rule, "not_judged"),
    ]
    assert found[0].message.endswith("against the reference")


def test_what_has_nothing_to_be_compared_with_is_said() -> None:
    found = judge(without_anchors(), GateSettings())
    assert not any(ruling.status == "closes" for ruling in found if ruling.rule != "quarantine")
    unasked = {(r.rule, r.against) for r in found if r.status == "not_judged"}
    assert unasked == {
        ("records", "reference"),
        ("labels", "reference"),
        ("labels", "last_good"),
        ("macro_f1", "reference"),
        ("macro_f1", "last_good"),
        ("records_per_s", "reference"),
        ("label_rates", "reference"),
        ("input", "reference"),
    }
    messages = {r.message for r in found if r.against == "reference"}
    assert messages == {"no reference is pinned"}


def test_a_rule_set_to_null_is_not_asked() -> None:
    worse = comparison(dict.fromkeys(LABELS, change(-0.5, -0.6, -0.4)))
    assert rulings(evidence(reference=worse, last_good=worse)) == []
