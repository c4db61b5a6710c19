"""A prompt file: the words of a prompt, their order and their languages."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from medsent.config.labels import Label, Labels
from medsent.config.loader import Settings, load_settings
from medsent.prompts.placeholders import (
    OPINION,
    PERSONA,
    PLACES,
    check_places,
    fill,
    holds,
    places_in,
)
from medsent.storage.paths import AnyPath

Wording = str | dict[str, str]
"""A text for every language, or language code to text."""

_FALLBACK: Final = "en"


class Turn(Settings):
    """One message."""

    role: Literal["system", "user", "assistant"]
    content: Wording
    """Its text; of the last `assistant`, the beginning of the answer."""


class LabelList(Settings):
    """How labels are written one after the other."""

    each: str = "{label}"
    """One label; its places are `{label}`, `{description}` and `{number}`."""
    between: str = ", "

    def write(self, labels: Iterable[tuple[int, Label]], language: str) -> str:
        """Return the text for labels with their numbers."""
        return self.between.join(
            fill(
                self.each,
                {
                    "label": label.name,
                    "description": label.describe(language),
                    "number": str(number),
                },
            )
            for number, label in labels
        )

    @field_validator("each")
    @classmethod
    def _known_places(cls, each: str) -> str:
        check_places(each, ("label", "description", "number"))
        return each


class PromptFile(Settings):
    """What a record is asked: messages or one text, with places for what differs.

    Places are `{opinion}`, `{persona}` (its description), `{persona.id}`, `{persona.name}`,
    `{persona.description}`, `{language}`, `{labels}`, `{labels.described}` and
    `{labels.count}`.
    """

    messages: tuple[Turn, ...] | None = None
    """The turns before the answer; earlier user and assistant turns are examples."""
    text: Wording | None = None
    """The whole prompt in place of messages; special tokens written in it are special tokens."""
    chat_template: bool | None = None
    """Whether the model's chat template is laid around the messages; null: where it has one."""
    verbatim: bool = False
    """Whether messages keep the white space at their ends, which most chat templates take off."""
    bos: int | None = Field(None, ge=0, le=2)
    """How many BOS tokens begin the prompt; null: those of the chat template, or one without it."""
    language: str | None = None
    """The language that personas and labels are described in; null: that of the opinion."""
    languages: dict[str, str] = {}
    """Language code to what `{language}` says; the code where not named."""
    labels: LabelList = LabelList()
    """How `{labels}` is written."""
    described: LabelList = LabelList(each='"{label}" means: {description}.', between=" ")
    """How `{labels.described}` is written, which holds the labels that have a description."""
    nobody: Wording = {"en": "any reader", "pl": "dowolny czytelnik"}
    """What a persona's places say where a record names no persona."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.messages is None) == (self.text is None):
            raise ValueError("give either messages or text")
        if self.messages is not None and not self.messages:
            raise ValueError("messages is empty")
        if self.text is not None and self.chat_template:
            raise ValueError("chat_template goes with messages; text is the whole prompt")
        if self.nobody == {}:
            raise ValueError("nobody is empty")
        self._check_languages()
        for language in self.spoken or ("",):
            texts = [in_language(wording, language) for wording in self._wordings()]
            for text in texts:
                check_places(text, PLACES)
            if not any(holds(text, (OPINION,)) for text in texts):
                raise ValueError("it has no {opinion}" + (f" in {language!r}" if language else ""))
        return self

    def _check_languages(self) -> None:
        """Refuse texts that are not all in the same languages."""
        several = [wording for wording in self._wordings() if isinstance(wording, dict)]
        for wording in several:
            if set(wording) != set(several[0]) or not wording:
                raise ValueError(
                    "its texts are in different languages: "
                    + " and ".join(sorted({", ".join(sorted(each)) or "none" for each in several}))
                )

    def _wordings(self) -> Iterator[Wording]:
        if self.text is not None:
            yield self.text
        for turn in self.messages or ():
            yield turn.content

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages it has words in; none where one text is for all."""
        several = (wording for wording in self._wordings() if isinstance(wording, dict))
        return tuple(next(several, {}))

    @property
    def begun(self) -> tuple[str, ...]:
        """The beginning of the answer, in each language; none where the model begins it."""
        if not self.messages or self.messages[-1].role != "assistant":
            return ()
        wording = self.messages[-1].content
        return (wording,) if isinstance(wording, str) else tuple(wording.values())

    @property
    def names_persona(self) -> bool:
        """Whether it says who reads."""
        return any(name in PERSONA for places in self._orders() for name in places)

    @property
    def persona_first(self) -> bool:
        """Whether a persona's place stands before the last place of the opinion."""
        return any(
            name in PERSONA
            for places in self._orders()
            for name in places[: len(places) - places[::-1].index(OPINION)]
        )

    @property
    def describes_each_label(self) -> bool:
        """Whether it lists the labels with the description of each."""
        listed = any("labels" in places for places in self._orders())
        return listed and holds(self.labels.each, ("description",))

    def _orders(self) -> Iterator[list[str]]:
        """Yield the places of the whole prompt in their order, for each language."""
        for language in self.spoken or ("",):
            texts = (in_language(wording, language) for wording in self._wordings())
            yield [name for text in texts for name in places_in(text)]

    def label_places(self, labels: Labels, language: str) -> dict[str, str]:
        """Return what stands in the places of the labels."""
        numbered = list(enumerate(labels.all, start=1))
        return {
            "labels": self.labels.write(numbered, language),
            "labels.described": self.described.write(
                ((number, label) for number, label in numbered if label.description), language
            ),
            "labels.count": str(len(labels)),
        }

    def digest(self) -> str:
        """Return sixteen hex digits of all that it says."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()[:16]

    def content(self) -> dict[str, Any]:
        """Return all that it says, what is default left out."""
        return self.model_dump(mode="json", exclude_defaults=True)


def in_language(wording: Wording, language: str) -> str:
    """Return the words of a language; where it has none, the English ones, else its first."""
    return wording if isinstance(wording, str) else wording[spoken_for(tuple(wording), language)]


def spoken_for(spoken: Sequence[str], language: str) -> str:
    """Return which of some languages stands for one: itself, else English, else the first."""
    return next((each for each in (language, _FALLBACK) if each in spoken), spoken[0])


def load_prompt(path: str | AnyPath) -> PromptFile:
    """Read a prompt file. Raises `ConfigError` that names the file and what is wrong."""
    return load_settings(PromptFile, path, words=True, name="the prompt file")


def shipped_prompt(name: str) -> PromptFile:
    """Return a prompt that ships, by the answer method that it was written for."""
    file = files("medsent.prompts").joinpath(f"{name}.yaml")
    return load_settings(PromptFile, str(file), words=True)


def fingerprint_part(prompt: PromptFile, shipped: PromptFile, labels: Labels) -> dict[str, Any]:
    """Return the part of a prompt that goes into a run's fingerprint.

    For the prompt that ships with the method it has the form from before prompts were files, so
    that runs from that time can still be resumed.
    """
    if prompt != shipped or prompt.messages is None or len(prompt.messages) != 2:
        described = [label.description for label in labels.all]
        return {"file": prompt.content(), "described": described}
    places = {**prompt.label_places(labels, ""), OPINION: "\0", "persona": "{reader}"}
    asked, begun = (fill(in_language(turn.content, ""), places) for turn in prompt.messages)
    instructions, reader = asked.split("\0")
    part: dict[str, Any] = {"instructions": instructions, "reader": reader, "cue": begun}
    others = [{k: v for k, v in each.description.items() if k != "en"} for each in labels.all]
    return part | ({"described": others} if any(others) else {})
