"""`onepass`: no decoding; a label's logit is its first token's logprob minus that of " none"."""

from functools import partial
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special

from medsent.answers.file import AnswerFile
from medsent.answers.method import Answer, AnswerMethod, decided
from medsent.config.labels import Labels
from medsent.engine.protocol import Ask, Completion
from medsent.errors import ModelError
from medsent.predictions import AnswerStatus
from medsent.prompts.file import shipped_prompt

REFERENCE: Final = "none"
_MOST_IDS: Final = 128
"""vLLM's own limit on the tokens whose logprobs a request may ask for."""


class OnePass:
    """Logits of the L labels against " none", from the first token's distribution."""

    def __init__(self, tokenizer: Any, labels: Labels, _: AnswerFile | None = None) -> None:
        ids = label_token_ids(tokenizer, labels)
        if len(ids) > _MOST_IDS:
            raise ModelError(
                f"method onepass reads at most {_MOST_IDS - 1} labels, since the engine gives the "
                f"logprobs of {_MOST_IDS} tokens; use method bits or json"
            )
        self.ask, self.room = Ask(max_tokens=1, token_ids=tuple(ids)), 1
        self._asked = itemgetter(*self.ask.token_ids)

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        if not completion.logprobs:
            return Answer(AnswerStatus.INVALID_ANSWER)
        try:
            logprobs = np.array(self._asked(completion.logprobs[0]))
        except KeyError:
            return Answer(AnswerStatus.INVALID_ANSWER)
        if not np.isfinite(logprobs).all():
            return Answer(AnswerStatus.INVALID_ANSWER)
        return decided(special.expit(logprobs[:-1] - logprobs[-1]), thresholds, None)


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


METHOD = AnswerMethod(
    "onepass",
    partial(shipped_prompt, "onepass"),
    OnePass,
    "nothing is written: the probabilities of the token after the prompt are read",
    is_written=False,
    training="logits",
)
