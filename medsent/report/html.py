"""The report as one HTML page that fetches nothing: style, script and plots are inside."""

import base64
import hashlib
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medsent.report.document import Claims, Document, Plot, Table

_INLINE: Final = ("style.css.j2", "sort.js.j2")
_POLICY: Final = (
    "default-src 'none'; style-src '{style}'; script-src '{script}'; "
    "base-uri 'none'; form-action 'none'"
)


def render_html(document: Document) -> str:
    """Return `report.html`; the same document gives the same bytes.

    Every string of the document is escaped, its drawings apart, and the page's
    Content-Security-Policy admits no script or style but the two it is given here, by their
    hashes.
    """
    environment = _environment()
    style, script = (environment.get_template(name).render() for name in _INLINE)
    return environment.get_template("report.html.j2").render(
        document=document,
        style=Markup(style),
        script=Markup(script),
        policy=_POLICY.format(style=_hash(style), script=_hash(script)),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medsent.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["table_block"] = lambda block: isinstance(block, Table)
    environment.tests["plot_block"] = lambda block: isinstance(block, Plot)
    environment.tests["claims_block"] = lambda block: isinstance(block, Claims)
    environment.filters["trusted"] = Markup
    environment.filters["sort_key"] = _sort_key
    return environment


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _sort_key(value: float | str) -> str:
    """Write what the page's script compares: a number as JavaScript reads it, or a text."""
    return "Infinity" if value == float("inf") else str(value)
