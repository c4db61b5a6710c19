"""Turns a record into token ids: exactly those that the tokenizer gives to the whole text.

The text of an opinion is untrusted. A prompt is tokenised as one text, as training pipelines
do it; where that makes a special token of anything in an opinion, the texts between the
prompt's own special tokens are tokenised by a tokenizer that knows none.

Where a text can be cut (see `prompts.cuts`), only the opinion and the text next to it are
tokenised, once for all its readers; the ids before and after are kept for each language and
persona.
"""

import copy
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Final, TypeVar

from tokenizers import AddedToken, Tokenizer

from medsent.config.labels import Labels
from medsent.config.personas import Persona
from medsent.errors import ModelError
from medsent.prompts.cuts import Cuts
from medsent.prompts.file import PromptFile, in_language
from medsent.prompts.placeholders import OPINION, fill
from medsent.prompts.template import Edge, rendered_turns

_SLOT: Final = "\x00opinion\x00"
_MARK: Final = f"\x00{secrets.token_hex(16)}\x00"
"""Stands for a special token before a text, for tokenizers that treat a beginning otherwise. No
opinion can hold it, since it is made anew in each process."""

_MAKING: Final = Lock()

Part = str | int
"""A text, or a special token's id."""
P = TypeVar("P", bound=Part)
Record = tuple[str, str, str | None]
"""An opinion's text, its language and the persona who reads it."""
_Tokenised = tuple[list[int], tuple[int, ...]]
"""A text's ids, and the special tokens among them."""


@dataclass(frozen=True)
class _Frame:
    """A prompt without its opinion: the texts around each place of it."""

    texts: tuple[str, ...]
    edges: tuple[Edge, ...]
    """For each place, whether the chat template strips the opinion on either side."""
    special: tuple[int, ...]
    """The special tokens of these texts, in their order."""

    def pieces(self, opinion: str) -> Iterator[tuple[str, bool]]:
        """Yield the prompt's texts, and whether each is the opinion."""
        yield self.texts[0], False
        for edge, text in zip(self.edges, self.texts[1:], strict=True):
            yield edge.strip(opinion), True
            yield text, False

    def text(self, opinion: str) -> str:
        """Return the prompt's text."""
        return "".join(text for text, _ in self.pieces(opinion))


@dataclass(frozen=True)
class _Cut:
    """A prompt in three parts, whose ids together are the ids of the whole."""

    before: list[int]
    around: _Frame
    """What stands next to the opinion on either side, up to where the prompt can be cut."""
    after: list[int]


class Prompter:
    """Builds prompts as token ids for one model and one prompt file.

    `tokenizer` is a fast transformers tokenizer.
    """

    def __init__(
        self, tokenizer: Any, prompt: PromptFile, personas: dict[str, Persona], labels: Labels
    ) -> None:
        """Raises `ModelError` where the prompt and the model's chat template do not go together."""
        self._tokenizer, self._prompt = tokenizer, prompt
        self._personas, self._labels = personas, labels
        self._bos = tokenizer.bos_token_id
        self._bos_count = self._count_bos()
        self.forbidden = _added_token_ids(tokenizer)
        # The unknown token stays reachable: for characters that the vocabulary lacks.
        self._unreachable = self.forbidden - {tokenizer.unk_token_id}
        self._frame = lru_cache(maxsize=4096)(self._make_frame)
        self._cut = lru_cache(maxsize=4096)(self._make_cut)
        if prompt.bos and self._bos is None:
            raise ModelError("the prompt file wants BOS, and the model's tokenizer has none")
        self._frame("en", None)  # what does not fit shows at once

    def prompts(self, records: Sequence[Record]) -> list[list[int]]:
        """Return the whole prompt's ids for each record."""
        cuts = [self._cut(language, persona) for _, language, persona in records]
        texts = [
            cut.around.text(opinion) for cut, (opinion, _, _) in zip(cuts, records, strict=True)
        ]
        made = self._tokenised(texts)
        return [
            self._whole(cut, made[text], record)
            for cut, text, record in zip(cuts, texts, records, strict=True)
        ]

    def prompt(self, opinion: str, language: str, persona: str | None) -> list[int]:
        """Return the whole prompt's ids for one record."""
        return self.prompts([(opinion, language, persona)])[0]

    def text(self, opinion: str, language: str, persona: str | None) -> str:
        """Return the prompt's text, without a BOS that is put before it."""
        return self._frame(language, persona).text(opinion)

    def without_bos(self, text: str) -> str:
        """Return a text without the BOS tokens that are written out at its beginning."""
        bos = self._tokenizer.bos_token
        while bos and text.startswith(bos):
            text = text[len(bos) :]
        return text

    def parts(self, opinion: str, language: str, persona: str | None) -> list[Part]:
        """Return the prompt's texts, in one piece each, and the special tokens between them."""
        return self._with_bos(self._joined(self._frame(language, persona), opinion))

    def head(self, opinion: str, language: str, persona: str | None) -> list[int]:
        """Return the ids of the prompt's text up to the end of the opinion, of the last one."""
        *texts, _ = (text for text, _ in self._frame(language, persona).pieces(opinion))
        return self._with_bos(self._encoded("".join(texts)))

    def prepare(self) -> None:
        """Make what a hostile opinion needs, which takes seconds, before the first one comes."""
        _plain(self._tokenizer)

    def without_readers(self) -> "Prompter":
        """Return a prompter with one persona, of id "", that leaves the persona's places empty."""
        nobody = Persona(id="", name={"en": ""}, description={"en": ""})
        return Prompter(self._tokenizer, self._prompt, {"": nobody}, self._labels)

    def _untrusted(self, text: str, after: bool = False) -> list[int]:
        """Tokenise text so that no special or added token can come out of it.

        `after` tells that a special token stands before it.
        """
        plain = _plain(self._tokenizer)
        made = plain.encode(_MARK * after + text, add_special_tokens=False)
        ids: list[int] = made.ids[after:]
        if self._unreachable.isdisjoint(ids):
            return ids
        # Merges made the id of an added token: tokenise its text character by character.
        start = len(_MARK) * after
        spelled: list[int] = []
        for token, (first, end) in zip(ids, made.offsets[after:], strict=True):
            own = text[first - start : end - start]
            spelled += self._spelled(own) if token in self._unreachable else [token]
        return spelled

    def _spelled(self, text: str) -> list[int]:
        plain, ids = _plain(self._tokenizer), []
        for character in text:
            ids += plain.encode(_MARK + character, add_special_tokens=False).ids[1:]
        return [token for token in ids if token not in self._unreachable]

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = _as_it_is(self._tokenizer).encode(text, add_special_tokens=False).ids
        return ids

    def _tokenised(self, texts: Iterable[str]) -> dict[str, _Tokenised]:
        """Return the ids of each text, and which of them are special tokens; each text once."""
        distinct = list(dict.fromkeys(texts))
        made = _as_it_is(self._tokenizer).encode_batch_fast(distinct, add_special_tokens=False)
        every = (each.ids for each in made)
        return {
            text: (ids, tuple(filter(self.forbidden.__contains__, ids)))
            for text, ids in zip(distinct, every, strict=True)
        }

    def _whole(self, cut: _Cut, made: _Tokenised, record: Record) -> list[int]:
        """Put a prompt together; the safe way if the opinion's text became a special token."""
        ids, special = made
        if special == cut.around.special:
            return self._with_bos(cut.before + ids + cut.after)
        opinion, language, persona = record
        return self._with_bos(self._safe(self._frame(language, persona), opinion))

    def _safe(self, frame: _Frame, opinion: str) -> list[int]:
        """Tokenise what stands between the prompt's own special tokens, the opinion within it."""
        ids: list[int] = []
        for part in self._joined(frame, opinion):
            ids += [part] if isinstance(part, int) else self._untrusted(part, after=bool(ids))
        return ids

    def _joined(self, frame: _Frame, opinion: str) -> list[Part]:
        """Return the prompt's special tokens, and all text between two of them in one piece."""
        parts: list[Part] = []
        for text, untrusted in frame.pieces(opinion):
            for part in [text] if untrusted else self._split(text):
                if isinstance(part, str) and parts and isinstance(parts[-1], str):
                    parts[-1] += part
                elif part != "":
                    parts.append(part)
        return parts

    def _split(self, text: str) -> Iterator[Part]:
        """Yield a trusted text's special tokens, and the texts between them."""
        start = 0
        encoded = _as_it_is(self._tokenizer).encode(text, add_special_tokens=False)
        for token, (first, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if token in self.forbidden:
                yield text[start:first]
                yield token
                start = end
        yield text[start:]

    def _with_bos(self, ids: list[P]) -> list[P]:
        """Begin a prompt with as many BOS tokens as its file says."""
        count = self._bos_count
        if self._bos is None or count is None:
            return ids
        start = 0
        while start < len(ids) and ids[start] == self._bos:
            start += 1
        # The converted tokenizers add no BOS, and Gemma without one only repeats itself.
        return [self._bos] * count + ids[start:]

    def _count_bos(self) -> int | None:
        """Return how many BOS tokens begin a prompt; None where the chat template says it."""
        prompt = self._prompt
        if prompt.bos is not None:
            return prompt.bos
        is_text = prompt.messages is None or prompt.chat_template is False
        return 1 if is_text or not getattr(self._tokenizer, "chat_template", None) else None

    def _make_frame(self, language: str, persona: str | None) -> _Frame:
        prompt = self._prompt
        values = {**self._values(language, persona), OPINION: _SLOT}
        if prompt.text is not None:
            whole = fill(in_language(prompt.text, language), values)
            edges = [Edge()] * whole.count(_SLOT)
        else:
            turns = [
                (turn.role, fill(in_language(turn.content, language), values))
                for turn in prompt.messages or ()
            ]
            whole, edges = rendered_turns(
                self._tokenizer, turns, _SLOT, prompt.chat_template, prompt.verbatim
            )
        texts = tuple(whole.split(_SLOT))
        return _Frame(texts, tuple(edges), self._special(texts))

    def _make_cut(self, language: str, persona: str | None) -> _Cut:
        frame = self._frame(language, persona)
        first, *between, last = frame.texts
        cuts = _cuts(self._tokenizer)
        start, end = cuts.last(first), cuts.first(last)
        texts = (first[start:], *between, last[:end])
        return _Cut(
            self._encoded(first[:start]),
            _Frame(texts, frame.edges, self._special(texts)),
            self._encoded(last[end:]),
        )

    def _special(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(part for text in texts for part in self._split(text) if isinstance(part, int))

    def _values(self, language: str, persona: str | None) -> dict[str, str]:
        """Return what stands in each place but the opinion's."""
        called = self._prompt.languages.get(language) or _word(language)
        language = self._prompt.language or language
        values = {"language": called, **self._prompt.label_places(self._labels, language)}
        if persona is None:
            nobody = in_language(self._prompt.nobody, language)
            names = ("persona", "persona.id", "persona.name", "persona.description")
            return values | dict.fromkeys(names, nobody)
        reader = self._personas[persona]
        description = reader.describe(language)
        return values | {
            "persona": description,
            "persona.id": reader.id,
            "persona.name": reader.call(language),
            "persona.description": description,
        }


def _word(language: str | None) -> str:
    """Return a record's language where it is a code or a word; it is untrusted as an opinion is."""
    plain = (language or "").translate(str.maketrans("", "", " -_"))
    return language if language and plain.isalnum() else ""


def _as_it_is(tokenizer: Any) -> Tokenizer:
    """The tokenizer, or where it pads, truncates or splits special tokens a copy that does not."""
    own: Tokenizer = tokenizer.backend_tokenizer
    told = own.padding or own.truncation or own.encode_special_tokens
    return _whole_texts(tokenizer) if told else own


@lru_cache(maxsize=4)
def _whole_texts(tokenizer: Any) -> Tokenizer:
    """Return a copy that does not pad, truncate or split special tokens; it takes seconds."""
    same: Tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
    same.encode_special_tokens = False
    same.no_padding()
    same.no_truncation()
    return same


@lru_cache(maxsize=4)
def _cuts(tokenizer: Any) -> Cuts:
    return Cuts(_as_it_is(tokenizer))


def _plain(tokenizer: Any) -> Tokenizer:
    """The tokenizer that hostile opinions need; threads that need it at once make it once."""
    with _MAKING:
        return _without_added_tokens(tokenizer)


@lru_cache(maxsize=4)  # seconds for a large vocabulary
def _without_added_tokens(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer that keeps only those added tokens that are runs of white space.

    Its one new token is `_MARK`.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["added_tokens"] = [
        token
        for token in spec["added_tokens"]
        if not token["special"] and not token["content"].strip()
    ]
    spec["post_processor"] = spec["padding"] = spec["truncation"] = None
    textual = Tokenizer.from_str(json.dumps(spec))
    textual.add_special_tokens([AddedToken(_MARK, special=True, normalized=False)])
    return textual


def _added_token_ids(tokenizer: Any) -> frozenset[int]:
    return frozenset(
        index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content.strip()
    )
