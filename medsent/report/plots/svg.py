"""Matplotlib's SVG made fit for the page: no style attributes, no namespaces, the page's colours.

The page's Content-Security-Policy refuses style attributes, so they become presentation
attributes; colours become the page's own, so a plot follows light, dark and print.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

HEAT_STEPS: Final = 8

# Matplotlib wants real colours: each of these stands for a variable of the style sheet.
INK: Final = "#000001"
MUTED: Final = "#000002"
LINE: Final = "#000003"
PAPER: Final = "#000004"
BASELINE: Final = "#000005"
CANDIDATE: Final = "#000006"
WORSE: Final = "#000007"
HEAT: Final = tuple(f"#0000{16 + step:02x}" for step in range(HEAT_STEPS))
"""From low to high."""

_VARIABLES: Final = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PAPER: "--paper",
    BASELINE: "--baseline",
    CANDIDATE: "--candidate",
    WORSE: "--worse",
    **{colour: f"--heat-{step}" for step, colour in enumerate(HEAT)},
}

_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_REFERENCE: Final = re.compile(r"#([A-Za-z0-9_.-]+)\)?$")
_NUMBER: Final = re.compile(r"-?\d+\.\d+")
_NO_TURN: Final = re.compile(r"rotate\(-?0 [^)]*\)")


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw by matplotlib's defaults, whatever the user's own settings of matplotlib are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def inline(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an `svg` element for a page; the same figure gives the same bytes.

    `name` sets its ids apart from those of other plots on the page; `label` says in a
    sentence what there is to see.
    """
    root = ElementTree.fromstring(_draw(figure, name))
    used = {match for element in root.iter() for match in _references(element)}
    for element in root.iter():
        _clean(element, used, name)
    for style in root.findall(".//defs/style/.."):
        style.clear()
    _unwrap(root)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": label,
        "class": f"plot {name.partition('-')[0]}",
    }
    return ElementTree.tostring(root, encoding="unicode").strip()


def _draw(figure: Figure, name: str) -> str:
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with (
        matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        # Text stays text, drawn with the reader's fonts: a glyph that is missing here is not there.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return text.getvalue()


def _references(element: ElementTree.Element) -> list[str]:
    values = (element.get(key, "") for key in (_HREF, "clip-path"))
    return [match[1] for value in values if (match := _REFERENCE.search(value))]


def _clean(element: ElementTree.Element, used: set[str], name: str) -> None:
    """Rewrite one element's tag and attributes in place."""
    element.tag = element.tag.removeprefix(_SVG)
    old, element.attrib = element.attrib, {}
    for key, value in old.items():
        if key == "style":
            element.attrib.update(_presentation(value))
        elif key == "id" and value in used:
            element.set("id", f"{name}-{value}")
        elif key == _HREF:
            element.set("href", f"#{name}-{value[1:]}")
        elif key == "clip-path":
            element.set(key, value.replace("#", f"#{name}-"))
        elif key != "id" and not (key == "transform" and _NO_TURN.fullmatch(value)):
            element.set(key, _shorter(value))
    if element.tag != "text":
        element.text = None
    element.tail = None


def _presentation(style: str) -> dict[str, str]:
    """Turn `fill: #000001; font-family: ...` into attributes; the page chooses the font."""
    pairs = (part.partition(":") for part in style.split(";"))
    found = {key.strip(): value.strip() for key, _, value in pairs if value}
    found.pop("font-family", None)
    return {key: _coloured(value) for key, value in found.items()}


def _coloured(value: str) -> str:
    variable = _VARIABLES.get(value)
    return f"var({variable})" if variable else value


def _shorter(value: str) -> str:
    """A hundredth of a point is finer than any screen."""
    short = _NUMBER.sub(lambda match: f"{float(match[0]):.2f}", value)
    return " ".join(short.split())


def _unwrap(parent: ElementTree.Element) -> None:
    """Replace groups that carry nothing by what is in them, and drop what is empty."""
    children = []
    for child in parent:
        _unwrap(child)
        if child.tag == "g" and not child.attrib:
            children += list(child)
        elif not (child.tag == "defs" and len(child) == 0):
            children.append(child)
    parent[:] = children
