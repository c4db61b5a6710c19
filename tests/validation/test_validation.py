"""A seeded short form of `make validate-statistics`: gross errors only, since samples are few."""

import numpy as np
import pytest

from medsent.config.labels import LABELS
from medsent.metrics.statistics.changes import label_changes
from medsent.metrics.statistics.estimates import FEW_OPINIONS, label_bounds, opinions_with
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.validation.deciding import ANY, SCENARIOS, Decided, decided
from tests.validation.drifting import Fresh, alarms
from tests.validation.multilevel import Multilevel
from tests.validation.population import GAIN, VARIANTS, Population, Scenario, f1
from tests.validation.study import Size, Study
from tests.validation.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.campaign]

SAMPLES = 25


@pytest.fixture(scope="module")
def studies() -> dict[Scenario, Study]:
    found: dict[Scenario, Study] = {}
    for scenario in ("equal", "biases", "better"):
        found[scenario] = Study()
        for seed in range(SAMPLES):
            found[scenario].look(Population.of(scenario), Size(60, 16, replicates=300), seed)
    return found


def test_the_population_is_what_it_says() -> None:
    equal, biases, better = (
        f1(*Population.of(scenario).shares) for scenario in ("equal", "biases", "better")
    )
    assert equal[0] == pytest.approx(equal[1], abs=1e-6)
    assert biases[0] == pytest.approx(biases[1], abs=1e-4)
    assert better[1] - better[0] == pytest.approx(np.full(21, GAIN), abs=1e-4)


@pytest.mark.parametrize("scenario", ["equal", "alike", "biases", "better"])
def test_the_second_population_is_what_it_says(scenario: Scenario) -> None:
    population = Multilevel.of(scenario)
    true = f1(*population.shares)
    gain = GAIN if scenario == "better" else 0
    assert true[1] - true[0] == pytest.approx(np.full(21, gain), abs=1e-9)
    rows = population.sample(20_000, 0, np.random.default_rng(0))
    counts = reduce_batches([rows], Scope.of(VARIANTS, LABELS)).slices[ALL]
    frequent = slice(10, None)
    for variant, each in zip(VARIANTS, true, strict=True):
        cells = counts[variant]
        found = f1(cells.tp, cells.fp, cells.fn)
        assert found[frequent] == pytest.approx(each[frequent], abs=0.03)
    # Few opinions have most of the records.
    sizes = np.unique(np.asarray(rows["opinion_id"]), return_counts=True)[1]
    assert sizes.sum() ** 2 / np.square(sizes).sum() < 0.35 * len(sizes)


def test_no_interval_contradicts_its_test(studies: dict[Scenario, Study]) -> None:
    for study in studies.values():
        for kind in ("difference", "relative improvement"):
            assert study.contradicted[kind].of > 200
            assert study.contradicted[kind].held == 0


def test_few_new_opinions_raise_no_alarm_and_many_that_moved_do() -> None:
    for readers in (1, 16):
        few, many = (alarms(Fresh(opinions, readers), seed=0) for opinions in (12, 400))
        for found, size in ((few, 12), (many, 400)):
            assert found[f"unchanged @ {size} x {readers}"].held <= 2
        assert many[f"moved @ 400 x {readers}"].held >= 6


def test_intervals_hold_the_truth(studies: dict[Scenario, Study]) -> None:
    """Pooled over labels these are hundreds of draws, over samples 75 to 150."""
    every = Study()
    for study in studies.values():
        every.merge(study)
    labels = [name for name in every.coverage if not name.startswith(("average", "difference of"))]
    labels += [name for name in every.coverage if name.startswith("difference of F1")]
    assert len(labels) >= 10
    for name in labels:
        tally = every.coverage[name]
        assert abs(tally.share - 95) < 2 + 4 * max(tally.error, 0.5), (name, tally)
    averages = [name for name in every.coverage if name not in labels]
    assert len(averages) >= 15
    for name in averages:
        assert every.coverage[name].share > 85, (name, every.coverage[name])


def test_tests_keep_their_level_where_mcnemar_without_clusters_does_not(
    studies: dict[Scenario, Study],
) -> None:
    null = Study()
    for scenario in ("equal", "biases"):
        null.merge(studies[scenario])
    groups = ("rough, 10 to 14 opinions", "rough, 15 opinions or more")
    for group in (*groups, "20 to 49 opinions", "50 opinions or more"):
        ours = null.rejected[f"F1 of a label, {group}"]
        assert ours.of > 50
        assert ours.share < 5 + 4 * max(ours.error, 0.5)
    # Where nothing differs, neither in F1 nor in who is right more often.
    theirs = null.rejected["McNemar without clusters, equal"]
    assert theirs.of > 300
    assert theirs.share - 2 * theirs.error > 5


def test_a_real_gain_is_found_and_labels_with_few_opinions_are_not_judged(
    studies: dict[Scenario, Study],
) -> None:
    better = studies["better"]
    assert better.rejected["macro_f1_supported"].share > 50
    assert better.rejected["F1 of a label, 50 opinions or more"].share > 20
    shown = better.shown["difference of F1"]
    assert 0 < shown.held < shown.of


def test_a_label_of_too_few_opinions_says_so() -> None:
    rows = Population.of("equal").sample(50, 1, np.random.default_rng(0))
    scope = Scope.of(VARIANTS, LABELS, pairs=[VARIANTS], replicates=100)
    state = reduce_batches([rows], scope)
    drawn = state.resamples[ALL]["baseline"]
    few = (opinions_with(drawn.positives) < FEW_OPINIONS).nonzero()[0]
    assert 0 < len(few) < 21
    bounds = label_bounds(state.slices[ALL]["baseline"], drawn)["f1"]
    changes = label_changes(state.pairs[ALL][VARIANTS])
    for label in few:
        for each in (bounds[label], changes[label].difference):
            assert each.low is None
            assert each.none in ("too_few_opinions", "undefined")


def test_the_error_of_a_tally_takes_samples_for_clusters() -> None:
    """Alike within a sample: as if there were as many draws as samples, not more."""
    rng = np.random.default_rng(0)
    alike, apart = Tally(), Tally()
    for _ in range(400):
        same, one = Tally(), Tally()
        held = bool(rng.random() < 0.9)
        for _ in range(20):
            same.add(held)
            one.add(bool(rng.random() < 0.9))
        for tally, part in ((alike, same), (apart, one)):
            part.close()
            tally.merge(part)
    assert alike.error == pytest.approx(100 * np.sqrt(0.09 / 400), rel=0.15)
    assert apart.error == pytest.approx(100 * np.sqrt(0.09 / 8000), rel=0.15)


def test_verdicts_are_seldom_wrong_and_more_opinions_tell_more() -> None:
    found = Decided()
    for seed in range(SAMPLES):
        for scenario in SCENARIOS:
            found.merge(decided(scenario, 150, seed, replicates=300))
        found.merge(decided("equal", 3000, seed, replicates=300))
    for kind in ("macro F1", "the whole", "the gate's macro F1", ANY):
        assert found.share(kind, "ship", "worse @ 150") <= 12
        assert found.share(kind, "ship", "damaged @ 150") <= 12
        assert found.share(kind, "block", "equal @ 150") <= 12
        assert found.share(kind, "block", "alike @ 150") <= 12
    assert found.share("macro F1", "ship", "better @ 150") > 50
    # About as many opinions as are said to tell do so in most samples.
    assert 2_500 < np.median(found.needed["equal @ 150"]) < 5_500
    assert found.share("macro F1", "ship", "equal @ 3000") > 50
