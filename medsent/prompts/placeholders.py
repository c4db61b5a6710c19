"""Places in a prompt's text, such as `{opinion}`, and what stands there: plain substitution."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

OPINION: Final = "opinion"
PERSONA: Final = ("persona", "persona.id", "persona.name", "persona.description")
OTHERS: Final = ("language", "labels", "labels.described", "labels.count")
PLACES: Final = (OPINION, *PERSONA, *OTHERS)

_PLACE = re.compile(r"\{\{([a-z][a-z_.]*)\}\}|\{([a-z][a-z_.]*)\}")
"""A word in braces; in two pairs of braces it is text. Other braces, as of JSON, are text too."""


def check_places(text: str, known: Collection[str]) -> None:
    """Raise `ValueError` where a text has a place that is none of the known ones."""
    for name in places_in(text):
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {{{nearest[0]}}}?" if nearest else f"known are {_list(known)}"
            raise ValueError(
                f"{{{name}}} is no placeholder here; {hint} (For these characters themselves "
                f"write {{{{{name}}}}}.)"
            )


def places_in(text: str) -> list[str]:
    """Return the names of a text's places, in their order."""
    return [name for _, name in _PLACE.findall(text) if name]


def holds(text: str, names: Collection[str]) -> bool:
    """Tell whether a text has any of these places."""
    return any(name in names for name in places_in(text))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values in its places, each put in once and looked at no more."""
    return _PLACE.sub(lambda found: _value(found, values), text)


def _value(found: "re.Match[str]", values: Mapping[str, str]) -> str:
    literal, name = found.groups()
    return f"{{{literal}}}" if literal else values[name]


def _list(known: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in known)
