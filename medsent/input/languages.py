"""A record's language, however files write it: `PL`, `pl-PL`, `pol` and `Polish` are `pl`."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_TAG: Final = re.compile(r"([^\W\d_]+)(?:[-_.@].*|\s*\(.*\))?", re.DOTALL)
"""A language's code or name, and behind it a region, script or encoding, or a remark."""
_POLISH_NAMES: Final = {"polski": "pl", "angielski": "en"}
"""Names that the register of languages does not have, in Polish as much of the data is."""
_LONGEST: Final = 60


def as_spoken(column: pa.Array, spoken: Collection[str]) -> pa.Array:
    """Return (N,) languages as the job's words name them; others, and nulls, as they stand."""
    coded = pc.dictionary_encode(column)
    known = {_folded(each): each for each in sorted(spoken)}
    names = [_read(name, known) for name in coded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(coded.indices)


def _read(written: str, known: dict[str, str]) -> str:
    folded = _folded(written)
    if folded in known:
        return known[folded]
    tag = _TAG.fullmatch(folded) if len(folded) <= _LONGEST else None
    if tag is None:
        return written
    for name in (folded, tag[1]):
        if (found := known.get(name) or known.get(_code(name))) is not None:
            return found
    return written


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", "-")


@lru_cache(maxsize=4096)
def _code(name: str) -> str:
    """Return the shortest code of a language's code or English name; nothing where it is none."""
    import pycountry

    if name in _POLISH_NAMES:
        return _POLISH_NAMES[name]
    try:
        language = pycountry.languages.lookup(name)
    except LookupError:
        return ""
    return str(getattr(language, "alpha_2", language.alpha_3))
