"""The sentence that a report opens with, where it compares: Ship, Block or Cannot tell."""

import re

import pytest

from medsent.metrics.model import Metrics
from medsent.metrics.verdict import Margins
from medsent.predictions import AnswerStatus
from medsent.report.decision import decided, short
from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.verdict import verdict
from medsent.report.write import summary
from tests.metrics.test_judgement import compared, flipped, gold, report
from tests.predicted import Answers
from tests.report.sample import metrics

pytestmark = pytest.mark.slow

TRUTH = gold(3000)
GOOD, ALIKE, BAD = flipped(TRUTH, 0.1, 1), flipped(TRUTH, 0.1, 2), flipped(TRUTH, 0.2, 3)
INTERVAL = r"\(95% interval [+−0-9.]+ to [+−0-9.]+\)"


@pytest.fixture(scope="module")
def judged() -> Metrics:
    return metrics(margins=Margins(0.02, 0.02))


def test_ship_for_what_is_better_or_as_good() -> None:
    better = compared(TRUTH, BAD, GOOD)
    assert decided(better).startswith("Ship: new is better than old on average: macro F1 ")
    alike = compared(TRUTH, GOOD, ALIKE)
    assert re.fullmatch(
        r"Ship: new is at most 2 points worse than old on average: macro F1 [0-9.]+% against "
        rf"[0-9.]+%, a difference of [+−0-9.]+ points {INTERVAL}\.",
        decided(alike),
    )
    assert re.fullmatch(
        rf"Ship: new against old, macro F1 [+−0-9.]+ points {INTERVAL}", short(alike)
    )


def test_ship_for_what_never_or_hardly_ever_differs() -> None:
    same = compared(TRUTH[:60], GOOD[:60], GOOD[:60])
    assert decided(same).startswith(
        "Ship: new and old are right and wrong about the same labels of all 60 records of 30 "
        "opinions: macro F1 "
    )
    assert short(same).endswith("0.0 points (no interval), no label of any record differs")
    hardly = GOOD.copy()
    hardly[:6:2] = 1 - hardly[:6:2]
    seldom = compared(TRUTH, GOOD, hardly)
    assert "they disagree so seldom that the difference is at most 1.2." in decided(seldom)
    assert short(seldom).endswith("(no interval), at most 1.2")


def test_block_names_what_blocks() -> None:
    assert re.fullmatch(
        r"Block: new is worse than old by more than 2 points on average: macro F1 [0-9.]+% against "
        rf"[0-9.]+%, a difference of −[0-9.]+ points {INTERVAL}, more than chance would give\.",
        decided(compared(TRUTH, GOOD, BAD)),
    )
    label = GOOD.copy()
    label[:, :4] = flipped(TRUTH, 0.4, 5)[:, :4]
    one = GOOD.copy()
    one[:, 3] = label[:, 3]
    wide = Margins(0.5, 0.02)
    told = decided(compared(TRUTH, GOOD, one, wide))
    assert re.match(
        r"Block: delight is worse by more than 2 points with new, −[0-9.]+ \(corrected interval "
        r"−[0-9.]+ to −[0-9.]+\), while new is worse than old on average: ",
        told,
    )
    assert "as are 3 other labels, while" in decided(compared(TRUTH, GOOD, label, wide))
    lost = [AnswerStatus.TRUNCATED if i % 10 == 0 else AnswerStatus.OK for i in range(len(TRUTH))]
    unusable = decided(compared(TRUTH, GOOD, Answers(GOOD, lost)))
    assert unusable.startswith(
        "Block: new gives a usable answer to 90.0% of the records and old to 100.0%, worse by more "
        "than 2 points, while it was not tested whether new is better"
    )


def test_cannot_tell_says_how_many_opinions_would() -> None:
    few = compared(TRUTH[:60], GOOD[:60], ALIKE[:60])
    assert re.fullmatch(
        r"Cannot tell: new was not found to be better or worse than old on average: .*; about "
        r"1[0-9]0 opinions in place of 30 would mostly tell whether it is worse by more than 2 "
        r"points\.",
        decided(few),
    )
    labels = {"anger": 0.01, "fear": 0.005}
    named = decided(compared(TRUTH, GOOD, ALIKE, Margins(0.02, 0.02, labels)))
    assert named.endswith("whether fear and anger are worse by more than their margins.")
    untested = decided(compared(TRUTH, GOOD, ALIKE, replicates=0))
    assert untested.startswith("Cannot tell: it was not tested whether new is better than old")
    assert untested.endswith("no interval was asked for; it may be worse by more than 2 points.")


def test_a_report_of_before_has_no_verdict() -> None:
    pair = compared(TRUTH, BAD, GOOD, margins=None)
    assert decided(pair).startswith("new is better than old on average: macro F1 ")
    assert short(pair).startswith("new against old, macro F1 +")


def test_the_report_opens_with_it_and_the_command_prints_it(judged: Metrics) -> None:
    first = contents(judged).verdict[0]
    assert first.startswith("Block: ironic is worse by more than 2 points with finetuned, −22.4 (")
    assert f"**{first}**" in render_markdown(contents(judged))
    assert summary(judged)[-1].startswith("  Block: finetuned against baseline, macro F1 over ")
    assert not any("against" in line for line in summary(metrics(gold=False)))


def test_what_to_collect_is_told_behind_the_verdict() -> None:
    run = metrics(160, margins=Margins(0.0, None, {"political": 0.02}))
    told = [each for each in verdict(run) if "It would help most to" in each]
    assert told == ["It would help most to collect opinions with political."]


def test_recommendations_agree_with_the_verdict(judged: Metrics) -> None:
    def recommended(run: Metrics) -> dict[str, str]:
        return {each.rule: each.text for each in run.findings if each.section == "recommendations"}

    assert recommended(judged).keys() == {"keep_baseline", "collect_more", "enough_data"}
    alike = recommended(report(TRUTH, GOOD, ALIKE))
    assert alike["as_good"].startswith("new can take the place of old where it has another ")
    assert not {"roll_out", "no_ground"} & alike.keys()
    assert "roll_out" in recommended(report(TRUTH, BAD, GOOD))
    few = recommended(report(TRUTH[:60], GOOD[:60], ALIKE[:60]))
    assert "no_ground" in few
    assert "as_good" not in few
