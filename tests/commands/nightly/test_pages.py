"""A night's page and the index of all nights: what they say, and how a browser shows them."""

import os
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from medsent.commands.drift import Drift
from medsent.commands.nightly.gate import Gate
from medsent.commands.nightly.history import Night
from medsent.commands.nightly.index import index_page
from medsent.commands.nightly.page import night_page
from medsent.commands.nightly.rules import Evidence, judge
from medsent.commands.nightly.settings import GateSettings, MacroSettings, QuarantineSettings
from medsent.commands.nightly.trends import draw_labels, label_trends
from medsent.config.labels import LABELS
from medsent.report.html import render_html
from tests.commands.nightly.evidence import (
    NIGHT,
    VARIANT,
    change,
    comparison,
    evidence,
    without_anchors,
)
from tests.predicted import named
from tests.report.browser import CHROMIUM, Page, new_page
from tests.report.sample import ATTACK
from tests.report.test_page import CONTRASTS, NARROW

pytestmark = pytest.mark.slow

FIRST = date(2026, 11, 1)
NIGHTS = 30
REGRESSION, SHIFT = 9, 16
HOSTILE = NIGHT.model_copy(update={"run": NIGHT.run.model_copy(update={"note": ATTACK})})
SETTINGS = GateSettings(
    macro_f1=MacroSettings(drop=0.01, floor=0.2), quarantine=QuarantineSettings(share=0.1)
)


def drifts(day: int) -> list[Drift]:
    shift = day == SHIFT
    rates = [
        Drift(
            kind="label_rate", name=label, variant=VARIANT, value=0.002 * (day % 3 - 1), low=-0.01,
            high=0.01, limit=0.05, alarm=False, message=f"{label} given to as many",
        )
        for label in LABELS
    ]  # fmt: skip
    population = [
        Drift(
            kind="population", name=name, variant=VARIANT if name == "prompt_tokens" else None,
            value=0.9 if shift else 0.01, chance=0.02, limit=0.2, alarm=shift,
            message=f"{name} moved, most: {ATTACK}",
        )
        for name in ("prompt_tokens", "language", "persona")
    ]  # fmt: skip
    return rates + population


def found(day: int) -> Evidence:
    """Return a night's evidence; the first has nothing to be compared with."""
    if day == 0:
        return without_anchors(HOSTILE)
    labels = {
        label: change(0.002 * ((day + index) % 5 - 2), -0.02, 0.02)
        for index, label in enumerate(LABELS)
    }
    if day == REGRESSION:
        labels |= dict.fromkeys(("fear", "anger"), change(-0.4, -0.5, -0.3))
    fell = 0.04 if day == REGRESSION else 0.0
    macro = change(-fell + 0.001, -fell - 0.005, -fell + 0.007)
    compared = comparison(labels, {"macro_f1_supported": macro})
    return evidence(HOSTILE, reference=compared, last_good=compared, drifts=drifts(day))


def gate(day: int) -> Gate:
    night = FIRST + timedelta(days=day)
    rules = judge(found(day), SETTINGS)
    return Gate(
        name="nightly",
        night=night,
        run=f"nightly-{night}-0123456789ab",
        status="closed" if any(each.status == "closes" for each in rules) else "open",
        reference="runs/reference",
        last_good=None,
        rules=rules,
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a made-up month, where a browser finds them by their links."""
    folder = tmp_path_factory.mktemp("runs")
    nights = [Night.of(gate(day), HOSTILE) for day in range(NIGHTS)]
    files = {"index": folder / "nightly-history" / "index.html"}
    files["index"].parent.mkdir()
    files["index"].write_text(render_html(index_page("nightly", ATTACK, nights)))
    for name, day in (("closed", REGRESSION), ("open", 1), ("first", 0)):
        files[name] = folder / nights[day].run / "night.html"
        files[name].parent.mkdir()
        page = night_page(gate(day), HOSTILE, "../nightly-history/index.html")
        files[name].write_text(render_html(page))
    return files


def visible(file: Path) -> str:
    """Return a page's text without its markup."""
    body = file.read_text().partition("<body>")[2].partition("<script>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_a_closed_night_says_which_rule_and_by_which_numbers(pages: dict[str, Path]) -> None:
    text = visible(pages["closed"])
    assert "The gate is closed, by F1 of each label and by macro F1" in text
    assert "fear, finetuned: 80.0% → 40.0% (−40.0 points, corrected bounds −50.0 and −30.0" in text
    assert "(and anger)" in text
    assert 'class="verdict worse"' in pages["closed"].read_text()
    assert "The gate is open." in visible(pages["open"])


def test_the_first_night_says_what_was_not_judged(pages: dict[str, Path]) -> None:
    text = visible(pages["first"])
    assert "The gate is open, as far as the rules could judge." in text
    assert "Not judged by F1 of each label" in text
    assert "no reference is pinned" in text


def test_the_index_lists_every_night_and_leads_to_its_page(pages: dict[str, Path]) -> None:
    page = pages["index"].read_text()
    links = re.findall(r'<a href="(\.\./[^"]+)">', page)
    assert len(links) == NIGHTS
    [closed] = [link for link in links if str(FIRST + timedelta(days=REGRESSION)) in link]
    assert (pages["index"].parent / closed).resolve() == pages["closed"].resolve()
    back = re.findall(r'<a href="(\.\./nightly-history/[^"]+)">', pages["closed"].read_text())
    assert (pages["closed"].parent / back[0]).resolve() == pages["index"].resolve()
    assert f"Closed on {FIRST + timedelta(days=SHIFT)} by input." in visible(pages["index"])


def test_what_follows_the_verdict_is_called_what_it_is(pages: dict[str, Path]) -> None:
    assert "The nights so far" in visible(pages["index"])
    assert "Behind the verdict" not in visible(pages["index"])
    assert "Behind the verdict" in visible(pages["closed"])


def test_what_a_user_gave_is_text(pages: dict[str, Path]) -> None:
    for file in pages.values():
        assert ATTACK not in file.read_text()
    assert "&lt;script&gt;" in pages["index"].read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium on the PATH: the pages are not opened in a browser")
    with new_page() as page:
        yield page


@pytest.mark.parametrize("name", ["index", "closed", "first"])
def test_a_browser_shows_it_and_fetches_nothing(
    browser: Page, pages: dict[str, Path], name: str
) -> None:
    browser.events.clear()
    browser.size(1200)
    browser.open(pages[name])
    for event in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
        assert browser.named(event) == []
    asked = {event["request"]["url"] for event in browser.named("Network.requestWillBeSent")}
    assert asked == {pages[name].as_uri()}
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        assert min(browser.run(CONTRASTS)) >= 4.5  # WCAG AA for text
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    for width in (NARROW, 1200):
        browser.size(width)
        assert browser.run("document.documentElement.scrollWidth") <= width


def test_a_link_leads_from_the_index_to_a_night_and_back(
    browser: Page, pages: dict[str, Path]
) -> None:
    browser.open(pages["index"])
    night = FIRST + timedelta(days=REGRESSION)
    link = f"[...document.querySelectorAll('td a, th a')].find(a => a.textContent === '{night}')"
    assert browser.run(f"{link}.href") == pages["closed"].as_uri()
    browser.open(pages["closed"])
    back = "[...document.querySelectorAll('th a')].find(a => a.textContent === 'index.html').href"
    assert browser.run(back) == pages["index"].as_uri()


def test_the_trends_show_what_closed_a_night(browser: Page, pages: dict[str, Path]) -> None:
    browser.size(1200)
    browser.open(pages["index"])
    told = browser.run(
        "[...document.querySelectorAll('svg.labels')].map(svg => svg.getAttribute('aria-label'))"
    )
    closed = FIRST + timedelta(days=REGRESSION)
    assert len(told) == 2
    assert told[0].endswith(f"Closed by fear on {closed}, anger on {closed}.")
    assert told[1].endswith("None closed a night.")
    assert browser.clipped() == []
    worse = "getComputedStyle(document.documentElement).getPropertyValue('--worse')"
    assert browser.run(worse)
    marks = browser.run(
        "[...document.querySelectorAll('svg.labels, svg.trends')]"
        ".map(svg => [...svg.querySelectorAll('use')]"
        ".filter(dot => (dot.getAttribute('fill') || '').includes('--worse')).length)"
    )
    # Macro F1's drop against two runs, three populations; two labels; no rate.
    assert marks == [5, 2, 0]


def relabelled(day: int, labels: tuple[str, ...]) -> Night:
    """Return a night that was judged by these labels, in their order."""
    compared = comparison().model_copy(
        update={"labels": {label: change(0.0, -0.01, 0.01) for label in labels}}
    )
    rules = judge(evidence(reference=compared, last_good=compared), GateSettings(drift=None))
    return Night.of(gate(day).model_copy(update={"rules": rules}), NIGHT)


def test_a_label_with_a_character_that_xml_forbids_is_drawn_by_its_number() -> None:
    nights = [relabelled(day, ("a\ufffe", "calm")) for day in (1, 2)]
    page = render_html(index_page("nightly", None, nights))
    assert "\ufffe" not in page
    assert "a⟨U+FFFE⟩</text>" in page


@pytest.mark.parametrize("number", [5, 60])
def test_the_trends_are_of_the_labels_of_the_nights_the_last_ones_first(number: int) -> None:
    old, new = ("calm", *named(number)), ("joy", *reversed(named(number)))
    nights = [relabelled(1, old), relabelled(2, new)]
    found = label_trends(nights, VARIANT, "labels")
    assert [trend.title for trend in found] == [*new, "calm"]
    assert [len(trend.points) for trend in found] == [1, *[2] * number, 1]
    assert f", for {number + 2} labels." in draw_labels(found, nights, "labels-0", "F1").svg
