"""The page as a reader has it: in a real browser, light and dark, wide and narrow, by keyboard."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsent.report.document import Plot
from medsent.report.html import render_html
from medsent.report.layout import contents
from tests.report.browser import CHROMIUM, Page, new_page
from tests.report.sample import ATTACK, PERSONAS, metrics

pytestmark = pytest.mark.slow

NARROW = 400
A4_WIDTH = 688  # in CSS pixels, less the margins
SORTABLE = "document.querySelector('#labels table[data-sortable]')"
ORDER = f"[...{SORTABLE}.tBodies[0].rows].map(row => row.cells[0].innerText.split(' ')[0])"
KEYS = (
    f"[...{SORTABLE}.tBodies[0].rows].map(row => row.cells[COLUMN].dataset.sort)"
    ".filter(key => key !== undefined).map(Number)"
)
CONTRASTS = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb
    .map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const paper = parts(getComputedStyle(document.body).backgroundColor);
  const ground = each => {
    while (getComputedStyle(each).backgroundColor === "rgba(0, 0, 0, 0)" && each.parentElement)
      each = each.parentElement;
    return parts(getComputedStyle(each).backgroundColor).slice(0, 3);
  };
  const heat = [...document.querySelectorAll("svg.heat path")].map(path => {
    const style = getComputedStyle(path);
    const alpha = Number(style.opacity) * Number(style.fillOpacity);
    const colour = style.fill === "none" ? paper : parts(style.fill);
    const seen = colour.map((part, i) => alpha * part + (1 - alpha) * paper[i]);
    return [path.getBoundingClientRect(), seen];
  });
  const below = text => {
    const own = text.getBoundingClientRect();
    const [x, y] = [(own.left + own.right) / 2, (own.top + own.bottom) / 2];
    const found = heat.findLast(
      ([box]) => box.left < x && x < box.right && box.top < y && y < box.bottom);
    return found ? found[1] : paper;
  };
  const contrast = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const words = "body, h1, h3, .note, .verdict, .basis li, .claims p, .claims dd, .claims dt, "
    + "figcaption, td, th, .interval, .tag";
  return [
    ...[...document.querySelectorAll(words)]
      .map(each => contrast(parts(getComputedStyle(each).color), ground(each))),
    ...[...document.querySelectorAll("svg text")]
      .map(each => contrast(parts(getComputedStyle(each).fill), below(each))),
  ];
})()
"""

OVERLAPS = (
    "[...document.querySelectorAll('figure svg:not(.heat)')].flatMap(svg => {"
    " const boxes = [...svg.querySelectorAll('text')]"
    "   .map(text => [text.textContent, text.getBoundingClientRect()]);"
    " return boxes.flatMap(([a, x], i) => boxes.slice(i + 1)"
    "   .filter(([b, y]) => x.left < y.right - 1 && y.left < x.right - 1"
    "                    && x.top < y.bottom - 4 && y.top < x.bottom - 4)"
    "   .map(([b]) => `${a} / ${b}`)) })"
)
"""Texts of a plot that lie over each other; a heat map's turned ones have boxes that do."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    hostile = metrics(name=ATTACK, personas=[ATTACK, *PERSONAS[1:]], reason=ATTACK)
    path.write_text(render_html(contents(hostile)))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium on the PATH: the report is not opened in a browser")
    with new_page() as page:
        yield page


@pytest.fixture
def page(browser: Page, file: Path) -> Page:
    """Return the page freshly loaded, light and wide."""
    browser.events.clear()
    browser.size(1200)
    browser.scheme("light")
    browser.open(file)
    return browser


def test_it_loads_without_an_error_and_asks_for_nothing(page: Page, file: Path) -> None:
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.run(f"{SORTABLE}.querySelector('button').click()")
    assert page.named("Runtime.exceptionThrown") == []
    assert page.named("Log.entryAdded") == []
    assert page.named("Runtime.consoleAPICalled") == []
    asked = {event["request"]["url"] for event in page.named("Network.requestWillBeSent")}
    assert asked == {file.as_uri()}


def test_all_plots_are_drawn(page: Page) -> None:
    document = contents(metrics())
    blocks = [block for section in document.sections for block in section.blocks]
    plots = [block for block in (document.plot, *blocks) if isinstance(block, Plot)]
    drawn = page.run(
        "[...document.querySelectorAll('figure svg')].map(svg => {"
        " const box = svg.getBBox();"
        " const shown = svg.getBoundingClientRect();"
        " return [box.width, box.height, shown.width, shown.height,"
        "         svg.querySelectorAll('path').length, svg.querySelectorAll('text').length] })"
    )
    assert len(drawn) == len(plots) == 7
    assert all(min(sizes[:4]) > 30 for sizes in drawn)
    assert all(min(sizes[4:]) > 1 for sizes in drawn)


def test_text_in_plots_stays_inside_and_apart(page: Page) -> None:
    assert page.clipped() == []
    assert page.run(OVERLAPS) == []


LONG = ("angry about the waiting time", "calm", "medication question", "WWWWWWWW MMMM", "ok")
ANY_NUMBER = {
    "5": LONG,
    "60": tuple(f"{LONG[index % 5]} {index}" for index in range(60)),
}


@pytest.mark.parametrize("labels", ANY_NUMBER.values(), ids=ANY_NUMBER)
def test_so_it_does_with_few_and_with_many_labels(
    browser: Page, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(contents(metrics(labels=labels, replicates=0))))
    browser.size(1200)
    browser.open(path)
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.clipped() == []
    assert browser.run(OVERLAPS) == []
    assert browser.run("document.documentElement.scrollWidth") <= 1200


@pytest.mark.parametrize("column", [0, 5])
def test_a_click_on_a_heading_sorts_and_another_reverses(page: Page, column: int) -> None:
    before = page.run(ORDER)
    first, second = ("ascending", "descending")[:: 1 if column == 0 else -1]
    seen = []
    for expected in (first, second, None):
        page.run(f"{heading(column)}.querySelector('button').click()")
        assert page.run(f"{heading(column)}.getAttribute('aria-sort')") == expected
        seen.append(page.run(ORDER))
    assert seen[0] != seen[1]
    assert before == seen[2]
    if column == 0:
        assert seen[0] == sorted(before) == seen[1][::-1]


def test_a_number_sorts_as_a_number_and_by_keyboard_as_well(page: Page) -> None:
    keys = KEYS.replace("COLUMN", "5")
    page.run(f"{heading(5)}.querySelector('button').focus()")
    for sign in (-1, 1):
        page.press("Enter", 13)
        values = page.run(keys)
        assert len(values) == 20  # `vulgar` is undefined
        assert values == sorted(values, key=lambda value: sign * value)
        assert page.run(ORDER)[-1] == "vulgar"
    assert page.run(f"{heading(5)}.getAttribute('aria-sort')") == "ascending"


def heading(column: int) -> str:
    return f"{SORTABLE}.querySelector('th[data-column=\"{column}\"]')"


BOXES = (
    "Object.fromEntries(['.verdict', '.key-figures', '.first .plot', '.basis'].map(name => {"
    " const box = document.querySelector(name).getBoundingClientRect();"
    " return [name, [box.left, box.top, box.right, box.bottom]] }))"
)


def test_the_plot_stands_beside_the_verdict_or_below_its_key_figures(page: Page) -> None:
    page.size(1280, 900)
    boxes = page.run(BOXES)
    left, top, _, bottom = boxes[".first .plot"]
    assert bottom <= 900  # whole, on the first screen
    assert left > max(boxes[name][2] for name in (".verdict", ".key-figures", ".basis"))
    assert top < boxes[".key-figures"][3]
    page.size(390, 844)
    boxes = page.run(BOXES)
    assert boxes[".key-figures"][3] <= boxes[".first .plot"][1]
    assert boxes[".first .plot"][3] <= boxes[".basis"][1]
    assert 0 <= boxes[".first .plot"][0] < boxes[".first .plot"][2] <= 390


def test_what_a_finding_rests_on_opens_without_a_script(page: Page) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        first = "document.querySelector('.claims details')"
        assert page.run(f"{first}.querySelector('dl').checkVisibility()") is False
        page.run(f"{first}.querySelector('summary').click()")
        assert page.run(f"{first}.querySelector('dl').checkVisibility()") is True
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_dark_mode_changes_the_page_and_all_stays_legible(page: Page) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        grounds.add(page.run("getComputedStyle(document.body).backgroundColor"))
        contrasts = page.run(CONTRASTS)
        assert len(contrasts) > 1000
        assert min(contrasts) >= 4.5  # WCAG AA for text
    assert len(grounds) == 2


def test_a_narrow_screen_does_not_scroll_sideways(page: Page) -> None:
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    for width in (NARROW, 1200, 1600):
        page.size(width)
        wide, room = page.run(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert room == width
        assert wide <= room
    page.size(NARROW)
    wide = "document.querySelector('#labels .wide').closest('.scroll').scrollWidth"
    assert page.run(wide) > NARROW


def test_a_printed_page_holds_its_widest_table(page: Page) -> None:
    page.size(A4_WIDTH)
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.run("document.documentElement.scrollWidth") <= A4_WIDTH
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_on_paper_plots_shrink_and_a_closed_finding_names_its_rule(page: Page) -> None:
    texts = (
        "[...document.querySelectorAll('.claims summary')]"
        ".map(each => each.checkVisibility() ? each.innerText : '')"
    )
    assert set(page.run(texts)) == {"Numbers and rule"}
    page.run("document.querySelector('.claims details').open = true")
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        shown = page.run(texts)
        least = "getComputedStyle(document.querySelector('.plot.rows')).minWidth"
        assert page.run(least) == "0px"
    finally:
        page.call("Emulation.setEmulatedMedia", media="")
    assert shown == ["", *(f"Rule {finding.rule}" for finding in metrics().findings[1:])]


def test_an_attacked_name_is_text(page: Page) -> None:
    assert page.run("document.querySelector('h1').innerText") == ATTACK
    personas = page.run("[...document.querySelectorAll('#slices tbody th')].map(e => e.innerText)")
    assert ATTACK in personas
    assert page.run("document.scripts.length") == 1
    assert page.named("Page.javascriptDialogOpening") == []


def test_a_definition_is_one_click_away(page: Page) -> None:
    page.run("document.querySelector('#calibration figcaption a').click()")
    assert page.run("document.querySelector(':target').id") == "def-reliability"
