"""Where a text can be cut so that its pieces, tokenised apart, have the ids of the whole.

That is proven for a BPE that merges over all of a text, as Gemma's does: where no token holds two
neighbours side by side, no merge joins them and no added token spans them, so neither side has
an effect on the other. A tokenizer of another kind is never cut for.
"""

import json
from functools import lru_cache
from typing import Any, Final

from tokenizers import Tokenizer
from tokenizers.models import BPE

_BETWEEN: Final = "\x00"


class Cuts:
    """The places where texts can be cut for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Read the vocabulary, which takes a fraction of a second for a large one."""
        self._model = tokenizer.model
        self._touched = _touched(tokenizer)
        self._tokens = "" if self._touched is None else _BETWEEN.join(tokenizer.get_vocab())
        self._apart = lru_cache(maxsize=4096)(self._find_apart)

    def first(self, text: str) -> int:
        """Return the first place to cut, between two characters of the text; else its end."""
        places = range(1, len(text))
        return next((place for place in places if self._is_cut(text, place)), len(text))

    def last(self, text: str) -> int:
        """Return the last place to cut, between two characters of the text; else its start."""
        places = range(len(text) - 1, 0, -1)
        return next((place for place in places if self._is_cut(text, place)), 0)

    def _is_cut(self, text: str, place: int) -> bool:
        return self._touched is not None and self._apart(text[place - 1], text[place])

    def _find_apart(self, left: str, right: str) -> bool:
        """Tell whether no token has these neighbours, whatever stands around them."""
        if left + right in self._tokens:
            return False
        # What the vocabulary lacks is fused with its neighbours, or written as bytes.
        return all(
            each not in (self._touched or "") and self._model.token_to_id(each) is not None
            for each in (left, right)
        )


def _touched(tokenizer: Tokenizer) -> str | None:
    """Return the characters that a tokenizer replaces or splits at, before it merges the rest.

    None where it works in another way, so that what stands far away may have an effect.
    """
    if not _is_plain(tokenizer.model) or any(
        token.lstrip or token.rstrip or token.single_word
        for token in tokenizer.get_added_tokens_decoder().values()
    ):
        return None
    touched = ""
    for step in (_settings(tokenizer.normalizer), _settings(tokenizer.pre_tokenizer)):
        match step:
            case None:
                pass
            case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)} if new:
                touched += old + new
            case {"type": "Split", "pattern": {"String": str(old)}, "invert": False}:
                touched += old
            case _:
                return None
    return touched


def _is_plain(model: Any) -> bool:
    """Tell whether a model only merges, and treats a word's ends and a whole word as the rest."""
    return isinstance(model, BPE) and not (
        model.dropout
        or model.continuing_subword_prefix
        or model.end_of_word_suffix
        or model.ignore_merges
    )


def _settings(step: Any) -> Any:
    """Return how a normalizer or a pre-tokenizer is set, as a tokenizer's file has it."""
    return None if step is None else json.loads(step.__getstate__())
