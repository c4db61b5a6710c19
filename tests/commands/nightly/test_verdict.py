"""What a night's rulings come to: ship, block or cannot tell, and what the policy does."""

from datetime import date
from typing import Any

import pytest

from medsent.commands.nightly.gate import Gate, Ruling
from medsent.commands.nightly.history import History, Night
from medsent.commands.nightly.page import night_page
from medsent.commands.nightly.rules import Evidence, judge
from medsent.commands.nightly.settings import GateSettings, LabelSettings, MacroSettings
from medsent.commands.nightly.verdict import conclude, verdict_told
from medsent.metrics.estimate import Estimate
from medsent.metrics.model import Change
from medsent.runs.folder import RunFolder
from tests.commands.nightly.evidence import NIGHT, SAME, change, comparison, without_anchors
from tests.commands.nightly.evidence import evidence as evidence_of

ASKED: dict[str, Any] = {
    "records": None,
    "generation_success": None,
    "records_per_s": None,
    "quarantine": None,
    "drift": None,
    "macro_f1": MacroSettings(drop=0.01),
    "labels": LabelSettings(worse_by=0.02),
}
IDENTICAL = SAME.model_copy(update={"at_most": 0.0})


def rulings(
    macro: Change,
    labels: dict[str, Change] | None = None,
    margins: dict[str, float] | None = None,
    **settings: Any,
) -> list[Ruling]:
    pair = comparison(labels, {"macro_f1_supported": macro}).model_copy(update={"opinions": 150})
    whole = evidence_of(reference=pair, last_good=pair)
    found = Evidence(**{**vars(whole), "margins": margins or {}})
    return judge(found, GateSettings.model_validate({**ASKED, **settings}))


def gate(found: list[Ruling]) -> Gate:
    return Gate(
        name="nightly", night=date(2026, 11, 1), run="nightly-0", reference=None, last_good=None,
        status="closed" if any(each.status == "closes" for each in found) else "open",
        decision=conclude(found), rules=found,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("macro", "decision", "status"),
    [
        (change(0.0, -0.009, 0.009), "ship", "open"),
        (change(0.0, -0.02, 0.02), "cannot_tell", "open"),
        (change(-0.05, -0.08, -0.02), "block", "closed"),
        (IDENTICAL, "ship", "open"),
        (SAME.model_copy(update={"at_most": 0.03}), "cannot_tell", "open"),
        (SAME, "cannot_tell", "open"),
    ],
)
def test_the_bounds_of_one_side_decide(macro: Change, decision: str, status: str) -> None:
    found = rulings(macro, dict.fromkeys(comparison().labels, IDENTICAL))
    assert {each.decision for each in found if each.rule == "macro_f1"} == {decision}
    night = gate(found)
    assert (night.decision, night.status) == (decision, status)


def test_labels_without_a_margin_of_their_own_need_not_be_shown_to_be_as_good() -> None:
    wide = {"anger": change(-0.01, -0.09, 0.05)}
    good = change(0.0, -0.009, 0.009)
    assert conclude(rulings(good, wide)) == "ship"
    assert conclude(rulings(good, wide, {"anger": 0.05})) == "cannot_tell"
    assert conclude(rulings(good, wide, {"anger": 0.1})) == "ship"
    # One that is worse beyond chance, and perhaps by more than it may, keeps from shipping.
    assert conclude(rulings(good, {"anger": change(-0.03, -0.05, -0.01)})) == "cannot_tell"
    assert conclude(rulings(good, {"anger": change(-0.06, -0.1, -0.03)})) == "block"
    assert conclude(rulings(good, {"anger": change(-0.06, -0.1, -0.03)}, {"anger": 0.2})) == "ship"


def test_it_is_said_how_many_opinions_would_tell() -> None:
    found = rulings(change(0.0, -0.02, 0.02, detectable_one_sided=0.03))
    macro = next(each for each in found if each.rule == "macro_f1")
    assert macro.opinions_needed == 150 * 9
    assert verdict_told(gate(found)) == (
        "Verdict: cannot tell of macro F1 of finetuned against the reference, macro F1 of "
        "finetuned against the last good night; about 1,350 opinions would mostly tell."
    )
    near = rulings(change(-0.008, -0.012, 0.02, detectable_one_sided=0.009))
    assert {each.opinions_needed for each in near} == {None}
    assert "would mostly tell" not in str(verdict_told(gate(near)))


def test_a_policy_closes_where_it_cannot_be_told() -> None:
    unsure = change(0.0, -0.02, 0.02)
    assert gate(rulings(unsure)).status == "open"
    closed = gate(rulings(unsure, cannot_tell="close"))
    assert (closed.status, closed.decision) == ("closed", "cannot_tell")
    assert {each.rule for each in closed.closing} == {"macro_f1"}
    [reason] = closed.reasons()
    assert reason.endswith("against the reference; the gate closes where it cannot tell")
    few = Estimate(value=-0.1, no_interval="too_few_opinions")
    rare = {"vulgar": SAME.model_copy(update={"difference": few, "simultaneous": few})}
    good = change(0.0, -0.009, 0.009)
    assert gate(rulings(good, rare, cannot_tell="close")).status == "open"
    needed = gate(rulings(good, rare, {"vulgar": 0.05}, cannot_tell="close"))
    assert {each.subject for each in needed.closing} == {"vulgar"}


def test_a_night_with_nothing_to_compare_with_is_not_shipped_nor_closed() -> None:
    settings = GateSettings.model_validate({**ASKED, "cannot_tell": "close"})
    night = gate(judge(without_anchors(), settings))
    assert (night.status, night.decision) == ("open", "cannot_tell")
    assert verdict_told(night) == (
        "Verdict: cannot tell, since no figure that must be as good was compared."
    )


def test_the_page_the_file_and_the_history_have_it(tmp_path: Any) -> None:
    night = gate(rulings(change(0.0, -0.009, 0.009)))
    assert night_page(night, NIGHT, "index.html").verdict[1] == (
        "Verdict: ship; every figure that must be as good was shown to be within its limit."
    )
    file = tmp_path / "gate.json"
    file.write_text(night.to_json())
    assert Gate.model_validate_json(file.read_bytes()) == night
    history = History(tmp_path, "nightly")
    history.folder.path.mkdir()
    history.add(Night.of(night, NIGHT))
    [row] = history.read()
    assert row.decision == "ship"
    assert {each.decision for each in row.rules if each.rule == "macro_f1"} == {"ship"}


def test_files_of_before_are_read(tmp_path: Any) -> None:
    night = gate(rulings(change(0.0, -0.009, 0.009)))
    new = {"decision", "required", "opinions_needed"}
    old = night.model_dump(mode="json", exclude={"decision": True, "rules": {"__all__": new}})
    read = Gate.model_validate(old)
    assert read.decision is None
    assert verdict_told(read) is None
    RunFolder(tmp_path).write("gate.json", read.to_json())
    assert Gate.model_validate_json((tmp_path / "gate.json").read_bytes()) == read
