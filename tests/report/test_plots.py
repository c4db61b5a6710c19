"""The plots: each an SVG that the page's policy admits, showing the numbers it is given."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import pytest

from medsent.config.labels import LABELS
from medsent.metrics.estimate import Estimate, value_of
from medsent.metrics.format import points
from medsent.metrics.model import Metrics
from medsent.report.document import Plot
from medsent.report.plots import curves
from medsent.report.plots import labels as plots
from medsent.report.plots import speed as pace
from medsent.report.tables import calibration as probabilities
from tests.predicted import named
from tests.report.sample import metrics

pytestmark = pytest.mark.slow

Draw = Callable[[Metrics], Plot]


def drawn(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


DRAWN: dict[str, Draw] = {
    "dumbbell": lambda run: plots.dumbbell(run, run.comparisons[0], "labels-0"),
    "dots": lambda run: plots.dots(run, "baseline", "labels-0"),
    "heat_map": lambda run: next(plots.heat_maps("finetuned", run.variants["finetuned"], "heat-0")),
    "reliability": lambda run: curves.reliability(
        probabilities.calibrated(run), "baseline", "reliability-0"
    ),
    "thresholds": lambda run: drawn(
        curves.thresholds("finetuned", run.variants["finetuned"], "thresholds-0")
    ),
    "speed": lambda run: pace.speed(run, "speed-0"),
    "course": lambda run: drawn(pace.course(run, "course-0")),
    "latency": lambda run: drawn(pace.latency(run, "latency-0")),
}


def texts(plot: Plot) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(plot.svg).iter("text")]


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_the_page_can_take_it(draw: Draw, run: Metrics) -> None:
    plot = draw(run)
    root = ElementTree.fromstring(plot.svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert plot.caption
    assert not re.search(r"style|xmlns|http|font-family|<!|metadata", plot.svg)
    assert "nan" not in plot.svg.lower()
    # Every colour is the page's own, so that it follows light and dark.
    paints = {element.get(key) for element in root.iter() for key in ("fill", "stroke")} - {None}
    assert paints
    assert all(paint == "none" or str(paint).startswith("var(--") for paint in paints)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_the_same_numbers_give_the_same_bytes(draw: Draw, run: Metrics) -> None:
    assert draw(run).svg == draw(metrics()).svg


def test_the_dumbbell_is_sorted_by_change_with_undefined_last(run: Metrics) -> None:
    plot = DRAWN["dumbbell"](run)
    labels = [text for text in texts(plot) if text in LABELS]
    changes = run.comparisons[0].labels
    known = {label: value_of(change.difference) for label, change in changes.items()}
    assert labels[0] == "fear"
    assert labels[-2:] == ["ironic", "vulgar"]
    gains = [gain for label in labels[:-1] if (gain := known[label]) is not None]
    assert len(gains) == 20
    assert gains == sorted(gains, reverse=True)
    assert points(known["fear"]) in texts(plot)
    assert plot.svg.count("var(--worse)") > 0


def test_the_dumbbells_caption_names_both_variants_and_says_what_colours_mean(run: Metrics) -> None:
    plot = DRAWN["dumbbell"](run)
    assert plot.caption.startswith("Ring: baseline. Dot: finetuned. Bands are 95% intervals")
    assert "Red: finetuned is lower. Grey: no difference found, after correction" in plot.caption


def test_without_tests_no_colour_is_explained() -> None:
    plot = DRAWN["dumbbell"](metrics(replicates=0))
    assert "var(--worse)" not in plot.svg
    assert "No difference here has an interval. Nothing was tested, so every" in plot.caption
    assert "Red" not in plot.caption
    assert "no difference found" not in plot.caption


def test_an_interval_from_zero_is_one(run: Metrics) -> None:
    difference = Estimate(value=0.1, low=0.0, high=0.2)
    one = run.comparisons[0].model_copy(
        update={
            "labels": {
                label: change.model_copy(update={"difference": difference})
                for label, change in run.comparisons[0].labels.items()
            }
        }
    )
    assert "Bands are 95% intervals" in plots.dumbbell(run, one, "rows-0").caption


def test_an_undefined_f1_is_drawn_below_one_of_zero(alone: Metrics) -> None:
    labels = alone.variants["baseline"].labels
    assert labels["vulgar"].f1 is None
    assert value_of(labels["fear"].f1) == 0.0
    before = {"vulgar": labels["vulgar"], **labels}
    variant = alone.variants["baseline"].model_copy(update={"labels": before})
    run = alone.model_copy(update={"variants": {"baseline": variant}})
    assert [text for text in texts(DRAWN["dots"](run)) if text in LABELS][-2:] == ["fear", "vulgar"]


def test_the_heat_map_marks_few_positives_and_undefined(run: Metrics) -> None:
    shown = texts(DRAWN["heat_map"](run))
    parts = [part for key, part in run.variants["finetuned"].slices.items() if "persona=" in key]
    cells = [label for part in parts for label in part.labels.values()]
    assert len(cells) == 16 * 21
    few = [cell for cell in cells if cell.f1 is not None and cell.support < 10]
    assert sum(text.startswith("(") for text in shown) == len(few) > 0
    assert shown.count("–") == sum(cell.f1 is None for cell in cells) > 0


def test_a_heat_map_of_very_many_personas_shows_the_largest_and_says_so() -> None:
    many = metrics(personas=[f"p{index:02d}" for index in range(50)])
    plot = DRAWN["heat_map"](many)
    names = [text for text in texts(plot) if re.fullmatch(r"p\d\d", text)]
    assert len(names) == plots.MOST_PERSONAS
    assert "Shown are the 40 of 50 personas with the most records." in plot.caption


@pytest.mark.parametrize(("labels", "drawn_in"), [(5, [5]), (21, [21]), (60, [20, 20, 20])])
def test_heat_maps_of_any_number_of_labels_show_each_of_them_once(
    labels: int, drawn_in: list[int]
) -> None:
    names = named(labels)
    run = metrics(labels=names, replicates=0)
    maps = list(plots.heat_maps("finetuned", run.variants["finetuned"], "heat-0"))
    shown = [[text for text in texts(plot) if text in names] for plot in maps]
    assert [len(part) for part in shown] == drawn_in
    assert [name for part in shown for name in part] == list(names)
    assert len({id_ for plot in maps for id_ in re.findall(r'id="([^"]+)"', plot.svg)}) == sum(
        plot.svg.count(' id="') for plot in maps
    )


def test_long_names_of_labels_are_cut_to_their_room() -> None:
    long = "angry about the time spent in the waiting room"
    run = metrics(labels=["calm", long], replicates=0)
    for draw in (DRAWN["dumbbell"], DRAWN["dots"], DRAWN["heat_map"], DRAWN["reliability"]):
        shown = [text for text in texts(draw(run)) if text.startswith("angry")]
        assert shown
        assert all(text.endswith("…") and long.startswith(text[:-1]) for text in shown)


def test_reliability_draws_the_bins_that_hold_records_pale_where_few(run: Metrics) -> None:
    sides = probabilities.calibrated(run)
    bins = [
        each for side in sides.values() for label in side.labels.values() for each in label.bins
    ]
    filled = [each for each in bins if each.records]
    few = [each for each in filled if each.records < curves.FEW_IN_BIN]
    assert 0 < len(few) < len(filled) < len(bins)
    plot = DRAWN["reliability"](run)
    marks = [
        use
        for use in ElementTree.fromstring(plot.svg).iter("use")
        if "matplotlib" not in str(use.get("href"))
    ]
    assert len(marks) == len(filled) + len(sides)  # and one each in the key
    assert sum(use.get("opacity", use.get("fill-opacity")) == "0.4" for use in marks) == len(few)
    assert set(LABELS) <= set(texts(plot))


def test_threshold_curves_show_the_threshold_in_use(run: Metrics) -> None:
    assert texts(DRAWN["thresholds"](run)).count("0.35") == 21
    untuned = drawn(curves.thresholds("baseline", run.variants["baseline"], "thresholds-0"))
    assert texts(untuned).count("0.50") == 21
    bare = run.variants["baseline"].model_copy(update={"calibration": None})
    assert curves.thresholds("baseline", bare, "thresholds-0") is None


def test_a_variant_without_probabilities_is_left_out_of_the_curves(run: Metrics) -> None:
    sides = probabilities.calibrated(run)
    plot = curves.reliability({"finetuned": sides["finetuned"]}, "baseline", "reliability-0")
    assert "var(--baseline)" not in plot.svg
    assert "baseline" not in plot.caption


def test_names_are_drawn_as_they_are_but_shortened() -> None:
    names = ["$x_1$", r"\frac{", "<b>", "漢字", "x" * 100]
    shown = texts(DRAWN["heat_map"](metrics(personas=names)))
    assert {*names[:4], "x" * 23 + "…"} <= set(shown)


def test_the_users_matplotlib_settings_are_left_alone(run: Metrics) -> None:
    before = dict(matplotlib.rcParams)
    for draw in DRAWN.values():
        draw(run)
    assert dict(matplotlib.rcParams) == before
