"""README and docs/ hold together: links lead somewhere, and what they name exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from medsent.cli import app

README = Path("README.md")
DOCS = sorted(Path("docs").glob("*.md"))
PAGES = [README, *DOCS]
every_page = pytest.mark.parametrize("page", PAGES, ids=str)

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(r"(?<![\w./~-])(?:cluster|docs|jobs|medsent|requirements|tests)/[\w./*-]*\w")


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[str]:
    """Yield the lines of a page's fenced blocks, without their comments, and its inline code."""
    for block in _FENCE.findall(page.read_text(encoding="utf-8")):
        yield from (line.partition("#")[0] for line in block.splitlines()[1:-1])
    yield from (" ".join(code.split()) for code in _CODE.findall(prose(page)))


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are linked by, as GitHub makes it of them."""
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(prose(page)))
    return {title.replace(" ", "-") for title in kept}


def options() -> dict[str, set[str]]:
    """Return the options of each command of `medsent`."""
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_group(app).commands.items()
    }


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in _PATH.findall(page.read_text(encoding="utf-8")):
        assert list(Path().glob(name)), name


@every_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(encoding="utf-8"), re.M))
    named = {name for code in commands(page) for name in re.findall(r"\bmake ([a-z-]+)", code)}
    assert named <= targets


@every_page
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    known = options()
    for code in commands(page):
        for name, rest in re.findall(r"\bmedsent ([a-z]+)(.*)", code):
            assert name in known, code
            assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= known[name] | {"--help"}, code


def test_the_readme_is_short_and_so_is_each_page() -> None:
    lines = {page: len(page.read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert lines.pop(README) < 200
    assert {page: count for page, count in lines.items() if count >= 150} == {}


def test_the_readme_leads_to_every_page() -> None:
    assert {str(page) for page in DOCS} <= set(_LINK.findall(prose(README)))


def test_the_readme_names_every_part_of_the_package() -> None:
    tree = README.read_text(encoding="utf-8").partition("## What is where")[2]
    parts = [child.name for child in Path("medsent").iterdir() if (child / "__init__.py").is_file()]
    assert [name for name in parts if f" {name}/" not in tree] == []
