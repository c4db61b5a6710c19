"""The HTML report: one safe page with the same numbers as the Markdown."""

import base64
import hashlib
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from medsent.config.labels import LABELS
from medsent.metrics.findings.catalogue import RULES
from medsent.report.document import Cell, Claims, Column, Table
from medsent.report.html import render_html
from medsent.report.layout import contents
from medsent.report.markdown import escape, render_markdown
from tests.report.sample import ATTACK, NOTE, metrics

pytestmark = pytest.mark.slow

VOID = {"meta", "br", "img", "link", "input", "hr"}
FETCHES = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background", "style"}
RESOURCES = {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "base", "form"}


@dataclass
class Page(HTMLParser):
    """Checks that tags nest, and collects what the tests ask about."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    captions: dict[str, list[list[str]]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> repeats an attribute"
        self.tags.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "table":
            self.rows = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> closes itself outside an SVG"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag == "table":
            self.captions[self.texts["caption"][-1]] = self.rows

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if self.open[-1:] and {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def html() -> str:
    return render_html(contents(metrics()))


@pytest.fixture(scope="module")
def markdown() -> str:
    return render_markdown(contents(metrics()))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return parse(html)


def values(page: Page, name: str) -> list[str]:
    return [found for _, attributes in page.tags if (found := attributes.get(name)) is not None]


def test_it_is_one_well_formed_page_with_the_note_and_the_verdict(page: Page) -> None:
    assert page.texts["h1"] == ["demo"]
    assert page.texts["title"] == ["demo – medsent report"]
    paragraphs = page.texts["p"]
    assert paragraphs[1] == NOTE
    assert paragraphs[2].startswith(
        "finetuned is better than baseline on average: macro F1 79.4% against 48.9%"
    )


def test_it_fetches_nothing(html: str, page: Page) -> None:
    assert not re.search(r"(https?:)?//[\w.]+", re.sub(r"(?m)^\s*//.*", "", html))
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    links = [value for _, found in page.tags for name, value in found.items() if name in FETCHES]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert {tag for tag, _ in page.tags} & RESOURCES == {"script"}


def test_the_policy_admits_its_own_style_and_script_and_nothing_else(page: Page) -> None:
    policy = next(
        found["content"]
        for tag, found in page.tags
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'{digest(page.texts['style'])}'",
        "script-src": f"'{digest(page.texts['script'])}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def digest(sources: list[str]) -> str:
    (source,) = sources
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def test_no_style_or_handler_stands_in_an_attribute(page: Page) -> None:
    names = {name for _, attributes in page.tags for name in attributes}
    assert "style" not in names
    assert not {name for name in names if name.startswith("on")}


def test_names_are_shown_as_text() -> None:
    hostile = metrics(
        name=ATTACK,
        note="</style><img src=x onerror=alert(1)>",
        personas=[ATTACK, '"><svg onload=alert(1)>', "$\\frac{$", "a\x00b"],
        reason=f'"{ATTACK}',
    )
    html = render_html(contents(hostile))
    page = parse(html)
    assert len(page.texts["script"]) == len(page.texts["style"]) == 1
    assert page.texts["h1"] == [ATTACK]
    assert page.texts["p"][1] == "</style><img src=x onerror=alert(1)>"
    personas = [row[0] for row in page.captions["Macro F1 by persona"][2:]]
    assert personas == ['"><svg onload=alert(1)>', "$\\frac{$", ATTACK, "a⟨U+0000⟩b"]
    outcomes = [row[0] for row in page.captions["What became of the input"]]
    assert f'Quarantined: "{ATTACK}' in outcomes
    assert "$\\frac{$" in page.texts["text"]
    assert {tag for tag, _ in page.tags} & RESOURCES == {"script"}
    assert "onload" not in {name for _, found in page.tags for name in found}


def test_characters_that_xml_forbids_are_shown_by_their_numbers() -> None:
    # A drawing is read as XML, and that stops at one of these; the columns cannot hold surrogates.
    forbidden = [*map(chr, range(32)), "\ufffe", "\uffff"]
    names = [f"p{each}" for each in forbidden]
    quoted = Table("quoted", [Column("Text")], [[Cell("\ud800")]])
    run = metrics(personas=names, labels=["a\ufffe", "b\uffff"], reason="\uffff", replicates=0)
    html = render_html(contents(run, [quoted]))
    assert not {*forbidden, "\ud800"} - {"\n"} & set(html)
    page = parse(html)
    personas = {row[0] for row in page.captions["Macro F1 by persona"][2:]}
    assert personas == {f"p⟨U+{ord(each):04X}⟩" for each in forbidden}
    assert {"a⟨U+FFFE⟩", "b⟨U+FFFF⟩"} <= set(page.texts["text"])
    assert page.captions["quoted"][1:] == [["⟨U+D800⟩"]]


def test_every_label_has_a_row_and_undefined_is_a_dash(page: Page) -> None:
    rows = page.captions["Labels: finetuned against baseline"][2:]
    assert [row[0].split(" ")[0] for row in rows] == list(LABELS)
    vulgar = rows[LABELS.index("vulgar")]
    assert vulgar[3] == "–b undefined: no positive, in gold or as given"
    shown = " ".join(cell for table in page.captions.values() for row in table for cell in row)
    assert not re.search(r"\b(nan|None|inf|True|False)\b", shown)


def test_the_distribution_adds_up(page: Page) -> None:
    *rows, total = page.captions["Labels by improvement: finetuned against baseline"][1:]
    assert sum(int(row[1]) for row in rows) == int(total[1]) == 21


def test_it_has_the_same_tables_as_the_markdown(page: Page, markdown: str) -> None:
    text = markdown
    blocks = [block for section in contents(metrics()).sections for block in section.blocks]
    tables = [block for block in blocks if isinstance(block, Table)]
    claims = [block for block in blocks if isinstance(block, Claims)]
    assert [block.title for block in claims] == page.texts["h3"]
    assert len(tables) == len(page.captions) == text.count("\n### ") - len(claims)
    for table in tables:
        rows = page.captions[table.caption][-len(table.rows) :]
        for cells, shown in zip(table.rows, rows, strict=True):
            line = "| " + " | ".join(escape(cell.text) for cell in cells if cell.reason is None)
            assert all(s.startswith(c.text) for c, s in zip(cells, shown, strict=True))
            assert all(part in text for part in line.split(" | "))


@pytest.mark.parametrize(
    "figure",
    ["77.0%", "47.9%", "+29.0", "+28.6 to +32.4", "from zero", "594", "609", "3 min 08 s", "9.65"],
)
def test_both_show_the_same_figures(figure: str, html: str, markdown: str) -> None:
    assert figure in html
    assert figure in markdown


def test_both_name_the_file_of_exact_numbers_that_the_document_gives() -> None:
    other = replace(contents(metrics()), numbers="exact.json")
    for text in (render_html(other), render_markdown(other)):
        assert re.search(r"\d+ more in exact\.json", text)
        assert not re.search(r"\d+ more in metrics\.json", text)


def test_a_finding_is_a_sentence_whose_rule_and_numbers_are_behind_a_click(page: Page) -> None:
    run = metrics()
    rules = {rule.name: rule.decides for rule in RULES}
    opened = [text for text in page.texts["details"] if "Numbers and rule" in text]
    assert len(opened) == len(run.findings)
    for finding, text in zip(run.findings, opened, strict=True):
        assert finding.text in page.texts["p"]
        assert finding.text not in text
        assert f"Rule {finding.rule}: {rules[finding.rule]}" in text
        assert all(name in text for name in list(finding.numbers)[:9])
    visible = page.texts["main"][0].partition("Overall")[0]
    for text in opened:
        visible = visible.replace(text, "")
    assert not re.search(r"[a-z]_[a-z]", visible)


def test_the_plot_of_labels_stands_in_the_head_of_the_page(page: Page) -> None:
    head = page.texts["header"][0]
    assert all(label in head for label in LABELS)
    assert head.index("Macro F1") < head.index("F1 by label") < head.index("Behind the verdict")


def test_ids_are_unique_and_every_link_leads_somewhere(page: Page) -> None:
    ids = values(page, "id")
    assert len(ids) == len(set(ids))
    targets = {link.removeprefix("#") for link in values(page, "href")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", " ".join(values(page, "clip-path"))))
    assert targets <= set(ids)
    assert set(values(page, "aria-labelledby")) <= set(ids)


def test_tables_and_plots_can_be_used_without_seeing_them(page: Page) -> None:
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert len(tables) == len(page.texts["caption"]) == len(page.captions)
    for tag, attributes in page.tags:
        if tag == "th":
            assert attributes["scope"] in ("col", "row", "colgroup")
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")


def test_the_same_numbers_give_the_same_bytes(html: str) -> None:
    assert render_html(contents(metrics())) == html


@pytest.mark.parametrize("made", [{"compare": ()}, {"gold": False, "timed": False}])
def test_other_runs_are_well_formed_too(made: dict[str, Any]) -> None:
    page = parse(render_html(contents(metrics(note=None, **made))))
    assert page.texts["h1"] == ["demo"]
    assert "note" not in values(page, "class")
