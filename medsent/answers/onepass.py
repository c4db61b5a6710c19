"""`onepass`: no decoding; a label's logit is its first token's logprob minus that of " none"."""

from typing import Any, Final

from medsent.errors import ModelError
from medsent.labels import Labels

REFERENCE: Final = "none"


def label_token_ids(tokenizer: Any, labels: Labels) -> list[int]:
    """Return L + 1 ids: the first token of each label's word, then of the reference " none".

    Raises `ModelError` that names the labels where two words begin with the same token.
    """
    words = dict(zip(labels.names, labels.words, strict=True))
    of_token: dict[int, list[str]] = {}
    ids = [_first(tokenizer, word) for word in (*words.values(), REFERENCE)]
    for token, name in zip(ids, (*words, REFERENCE), strict=True):
        of_token.setdefault(token, []).append(name)
    alike = [_named(names, words) for names in of_token.values() if len(names) > 1]
    if alike:
        raise ModelError(
            "method onepass cannot be used: it tells labels apart by the first token of their "
            f"words, and in this tokenizer these begin with the same one: {'; '.join(alike)}. Give "
            "all but one of them another `word` in the label file, or use method bits or json"
        )
    return ids


def _first(tokenizer: Any, word: str) -> int:
    return int(tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0])


def _named(names: list[str], words: dict[str, str]) -> str:
    return " and ".join(
        f"{name} ({words[name]!r})" if words.get(name, name) != name else name for name in names
    )
