"""Bounds of differences that have no interval, since the two variants hardly ever disagree."""

import numpy as np
import pytest

from medsent.metrics.statistics.disagreements import Disagreements


def about(seen: int, opinions: float, *, identical: bool = False) -> Disagreements:
    found = Disagreements.about_label(seen, opinions, 0.7, identical)
    assert found is not None
    return found


def test_of_none_it_is_the_rule_of_three() -> None:
    # With 95% certainty of one side at most 3 in n: the exact bound is 1 - 0.05^(1/n).
    found = about(0, 300)
    share = found.bound(sides=1) / found.influence
    assert share == pytest.approx(1 - 0.05 ** (1 / 300))
    assert share == pytest.approx(3 / 300, rel=0.01)


def test_identical_variants_have_no_difference() -> None:
    assert about(0, 12, identical=True).bound() == 0
    any_ = Disagreements.about_any(0, 12, np.array([0.5]), np.array([12.0]))
    assert any_ is not None
    assert any_.identical
    assert any_.bound() == 0


def test_more_disagreements_fewer_opinions_and_more_labels_widen_it() -> None:
    narrow = about(1, 300).bound()
    assert about(3, 300).bound() > narrow
    assert about(1, 100).bound() > narrow
    assert about(1, 300).bound(number=21) > narrow
    assert about(6, 8).bound() <= 1


def test_as_many_opinions_as_are_said_bring_it_down_to_the_margin() -> None:
    found = about(1, 300)
    times = found.times(0.02, number=21)
    assert times is not None
    assert times > 1
    more = about(1, 300 * times)
    assert more.bound(number=21) < 0.02  # the one does not become more in `about`
    assert found.times(0.5) == 1
    assert about(6, 100).times(0.02) is None


@pytest.mark.parametrize("missed", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("f1", [0.2, 0.5, 0.8, 1.0])
def test_f1_moves_by_no_more_than_the_influence(f1: float, share: float, missed: bool) -> None:
    """The candidate is wrong on a share of 2 tp + fp + fn of both, the baseline right."""
    whole, tp = 1.0, f1 / 2
    if missed:  # tp becomes fn: 2 of the baseline's whole, 1 of the candidate's
        wrong = min(2 * whole * share / (3 + share), tp)
        share = 3 * wrong / (2 * whole - wrong)
        candidate = 2 * (tp - wrong) / (whole - wrong)
    else:  # fp is new: 1 of the candidate's whole
        wrong = 2 * whole * share / (1 - share)
        candidate = 2 * tp / (whole + wrong)
    found = Disagreements.about_label(1, 100, f1, identical=False)
    assert found is not None
    assert 0 < f1 - candidate <= found.influence * share + 1e-12


def test_the_rarest_label_weighs_on_macro_f1() -> None:
    f1 = np.full(20, 0.7)
    often = Disagreements.about_any(2, 400, f1, np.full(20, 400.0))
    rare = Disagreements.about_any(2, 400, f1, np.array([10.0] + [400.0] * 19))
    assert often is not None
    assert rare is not None
    assert often.influence == pytest.approx(1.4 + 1.4 / 20)
    assert rare.influence == pytest.approx(1.4 + 1.4 * 40 / 20)


def test_nothing_bounds_what_every_opinion_may_disagree_on() -> None:
    assert Disagreements.about_label(3, 3, 0.5, identical=False) is None
    assert Disagreements.about_label(0, float("nan"), 0.5, identical=False) is None
    assert Disagreements.about_label(0, 50, float("nan"), identical=False) is None
    assert Disagreements.about_any(0, 50, np.array([]), np.array([])) is None
