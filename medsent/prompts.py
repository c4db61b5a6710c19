"""From a record to token ids: instructions, then the opinion, then the reader, then the cue.

The order lets all readers of one opinion share its prefix in the KV cache. The text
of an opinion is untrusted: it is tokenised alone, by a tokenizer that knows no added
tokens, so nothing in it can become a special token or move the prompt's structure.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

from medsent.errors import ModelError
from medsent.personas import Persona

_SLOT = "\x00opinion\x00"
_NOBODY = {"en": "any reader", "pl": "dowolny czytelnik"}


@dataclass(frozen=True)
class PromptText:
    """The fixed words of a prompt; part of a run's fingerprint."""

    instructions: str
    """Stands before the opinion."""
    reader: str
    """Stands after the opinion; `{reader}` is the persona's description."""
    cue: str
    """Ends the prompt; the answer follows."""


class Prompter:
    """Builds prompts as token ids for one model and one `PromptText`.

    `tokenizer` is a fast transformers tokenizer. Where it has a chat template, the
    prompt is the user's turn and the cue opens the model's turn; where not, plain text.
    """

    def __init__(self, tokenizer: Any, text: PromptText, personas: dict[str, Persona]) -> None:
        self._tokenizer = tokenizer
        self._text = text
        self._personas = personas
        self._plain = _without_added_tokens(tokenizer)
        self.forbidden = _added_token_ids(tokenizer)
        self._before, self._after = self._frame()
        self.tail = lru_cache(maxsize=None)(self._tail)

    def head(self, opinion: str) -> list[int]:
        """Return the ids up to the end of the opinion: shared by all its readers."""
        return self._before + self.encode_untrusted(opinion)

    def prompt(self, opinion: str, language: str, persona: str | None) -> list[int]:
        """Return the whole prompt's ids for one record."""
        return self.head(opinion) + self.tail(language, persona)

    def encode_untrusted(self, text: str) -> list[int]:
        """Tokenise text so that no special or added token can come out of it."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        if self.forbidden.isdisjoint(ids):
            return ids
        # A vocabulary that reaches an added token by merging: spell it character by character.
        return [piece for token in ids for piece in self._spelled(token)]

    def _spelled(self, token: int) -> list[int]:
        if token not in self.forbidden:
            return [token]
        spelled = [
            piece
            for character in self._plain.id_to_token(token) or ""
            for piece in self._plain.encode(character, add_special_tokens=False).ids
        ]
        return [piece for piece in spelled if piece not in self.forbidden]

    def _tail(self, language: str, persona: str | None) -> list[int]:
        """Return the ids after the opinion: reader, cue and what the chat template closes with."""
        if persona is None:
            reader = _NOBODY.get(language, _NOBODY["en"])
        else:
            reader = self._personas[persona].describe(language)
        asked = self._text.reader.format(reader=reader)
        if self._after is None:
            return self._trusted(asked + self._text.cue)
        return self._trusted(asked) + self._after + self._trusted(self._text.cue)

    def _trusted(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _frame(self) -> tuple[list[int], list[int] | None]:
        """Return the ids before the opinion and, with a chat template, those that end the turn."""
        if not getattr(self._tokenizer, "chat_template", None):
            bos = self._tokenizer.bos_token_id
            # The converted tokenizers add no BOS, and Gemma without one only repeats itself.
            start = [] if bos is None else [bos]
            return start + self._trusted(self._text.instructions), None
        turn = [{"role": "user", "content": self._text.instructions + _SLOT}]
        rendered = self._tokenizer.apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True
        )
        if rendered.count(_SLOT) != 1:
            raise ModelError(
                "model.source: its chat template does not keep the user's text as it is"
            )
        before, after = rendered.split(_SLOT)
        return self._trusted(before), self._trusted(after)


@lru_cache(maxsize=4)  # seconds for a large vocabulary, and each variant asks
def _without_added_tokens(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer in which only runs of white space remain as added tokens."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["added_tokens"] = [
        token
        for token in spec["added_tokens"]
        if not token["special"] and not token["content"].strip()
    ]
    spec["post_processor"] = spec["padding"] = spec["truncation"] = None
    return Tokenizer.from_str(json.dumps(spec))


def _added_token_ids(tokenizer: Any) -> frozenset[int]:
    return frozenset(
        index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content.strip()
    )
