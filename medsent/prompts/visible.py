"""Prompts on a terminal: special tokens are marked, and no character of a text acts."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from medsent.prompts.prompter import Part

OPEN, CLOSE = "⟦", "⟧"
"""What stands around a special token; in a text they are written as escapes."""
LEGEND: Final = (
    f"{OPEN} {CLOSE} is one special token; without them the same characters are text, in which "
    "control characters and these brackets are written as escapes"
)

_NAME: Final = re.compile(r"[\w-]{1,32}")
"""What a language or persona looks like; a column mistaken for one of these may hold opinions."""
_ACTING: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of control, invisible and line-separating characters."""
_UNDECODED: Final = "\ufffd"
"""What the bytes of an incomplete character are decoded to."""
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def harmless(text: str, newlines: bool = False) -> str:
    """Return a text with its controls as escapes, all but newlines where those are to stay."""
    return "".join(
        character if newlines and character == "\n" else _shown(character) for character in text
    )


def as_name(value: str) -> str:
    """Return a column's value where it is a name, and else no character of it."""
    return value if _NAME.fullmatch(value) else "another value"


def marked(parts: Sequence[Part], tokenizer: Any) -> str:
    """Return a prompt's texts, newlines as they are, with its special tokens marked."""
    return "".join(
        harmless(part, newlines=True) if isinstance(part, str) else special(part, tokenizer)
        for part in parts
    )


def special(token: int, tokenizer: Any) -> str:
    """Return a special token as it is shown."""
    return f"{OPEN}{harmless(_name(token, tokenizer))}{CLOSE}"


def token_texts(ids: Sequence[int], specials: frozenset[int], tokenizer: Any) -> list[str]:
    """Return each token as it is shown, in one line; a character of several is at the last."""
    shown: list[str] = []
    start, told = 0, ""
    for place, token in enumerate(ids, start=1):
        if token in specials or not 0 <= token < len(tokenizer):
            shown.append(special(token, tokenizer))
            start, told = place, ""
            continue
        # By itself a token may lose its space.
        whole = tokenizer.decode(ids[start:place], clean_up_tokenization_spaces=False)
        if whole.endswith(_UNDECODED) and place < len(ids):
            shown.append("")
            continue
        shown.append(harmless(whole[alike(whole, told) :]))
        told = whole
    return shown


def alike(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many elements two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _name(token: int, tokenizer: Any) -> str:
    name = tokenizer.convert_ids_to_tokens(token) if 0 <= token < len(tokenizer) else None
    return name if name is not None else f"no token: {token}"


def _shown(character: str) -> str:
    if character in (OPEN, CLOSE) or unicodedata.category(character) in _ACTING:
        return _SHORT.get(character) or character.encode("unicode_escape").decode()
    return character
