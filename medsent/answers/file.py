"""An answer file: the JSON that a model answers method `json` with, and how it is generated."""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, StringConstraints, model_validator

from medsent.config.job import SamplingSettings
from medsent.config.loader import Settings, load_settings
from medsent.engine.answer_form import Form, Listing, Sheet
from medsent.errors import ConfigError
from medsent.storage.paths import AnyPath

Value = StrictBool | StrictInt | StrictStr
Key = Annotated[str, StringConstraints(min_length=1)]

_STYLES: Final[dict[str, dict[str, Any]]] = {
    "compact": {"separators": (",", ":")},
    "spaced": {},
    "indented": {"indent": 2},
}
"""Arguments of `json.dumps`, by which an answer is written."""


class AnswerFile(Settings):
    """What an answer of method `json` looks like, and how the model comes to it."""

    form: Literal["object", "list"] = "object"
    """`object`: every label has a value; `list`: the labels given are named."""
    yes: Value = True
    """In an object, the value of a label that is given: `true`, `1`, `"yes"`, `"tak"`."""
    no: Value = False
    """In an object, the value of a label that is not."""
    under: Key | None = None
    """The key that the object or list stands under; null: it is the whole answer."""
    names: dict[str, Key] = {}
    """Our label to the model's name for it; its own where not named."""
    omitted: Literal["unusable", "no"] = "unusable"
    """What a label without a value in an object means: that the answer cannot be used, or no."""
    style: Literal["compact", "spaced", "indented"] = "compact"
    """White space of a guided answer: none, as `json.dumps` writes it, or in lines of 2 spaces."""
    before: str = Field("", pattern=r"^[ \n]*$")
    """White space before a guided answer, where the model learnt to begin with it."""
    ascii: bool = False
    """Whether other letters are written as escapes, as `json.dumps` does by default."""
    guided: bool = True
    """Under a grammar, which allows no other answer; else the model writes what it will."""
    sampling: SamplingSettings = SamplingSettings()
    """Where null: temperature 0, top_p 1, seed 0; max_tokens is as many as a guided answer can
    have, and for a free answer twice the tokens of the longest."""

    @model_validator(mode="after")
    def _two_values(self) -> Self:
        if _same(self.yes, self.no):
            raise ValueError("yes and no are the same value")
        given = {"yes", "no", "omitted"} & self.model_fields_set
        if self.form == "list" and given:
            raise ValueError(f"{min(given)} goes with form: object; a list names the labels given")
        return self

    @property
    def has_probabilities(self) -> bool:
        """Whether a label's probability can be read: at its value, in a guided object."""
        return self.guided and self.form == "object"

    def with_settings(self, guided: bool | None, sampling: SamplingSettings) -> "AnswerFile":
        """Return the file with what a job says instead."""
        said = {name: value for name, value in sampling if value is not None}
        return self.model_copy(
            update={
                "guided": self.guided if guided is None else guided,
                "sampling": self.sampling.model_copy(update=said),
            }
        )

    def called(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the model's names for the labels, (L,).

        Raises `ConfigError` where `names` is of other labels, or two have the same name.
        """
        unknown = sorted(set(self.names) - set(labels))
        if unknown:
            raise ConfigError(f"the answer file's names: {unknown[0]!r} is no label of this job")
        called = tuple(self.names.get(label, label) for label in labels)
        for name in called:
            if called.count(name) > 1:
                raise ConfigError(f"the answer file's names: two labels are called {name!r}")
        return called

    def meaning(self, value: Any) -> bool | None:
        """Return whether a JSON value says yes; None where it says neither yes nor no."""
        if _same(value, self.yes):
            return True
        return False if _same(value, self.no) else None

    def written(self, value: Any) -> str:
        """Return a value as JSON in this file's style."""
        return json.dumps(value, ensure_ascii=self.ascii, **_STYLES[self.style])

    def form_of(self, labels: Sequence[str]) -> Form:
        """Return the exact form of its answers for some labels. Raises `ConfigError` as above."""
        called = self.called(labels)
        return self._sheet(called) if self.form == "object" else self._listing(called)

    def digest(self) -> str:
        """Return sixteen hex digits of all that decides an answer that is not cut off."""
        kept = self.model_copy(update={"sampling": self._effective(cut_off=False)})
        said = json.dumps(kept.content(), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def deciding(self) -> dict[str, Any]:
        """Return all that decides its answers, what is default left out."""
        return self.model_copy(update={"sampling": self._effective(cut_off=True)}).content()

    def _effective(self, cut_off: bool) -> SamplingSettings:
        """Return what of the sampling has an effect: without a temperature nothing is drawn."""
        said = self.sampling
        if not said.temperature:
            return SamplingSettings(max_tokens=said.max_tokens if cut_off else None)
        return SamplingSettings(
            temperature=said.temperature,
            top_p=1.0 if said.top_p is None else said.top_p,
            seed=said.seed or 0,
            max_tokens=said.max_tokens if cut_off else None,
        )

    def content(self) -> dict[str, Any]:
        """Return all that it says, what is default left out."""
        said, default = (
            each.model_dump(mode="json", exclude_none=True) for each in (self, AnswerFile())
        )
        # Compared as JSON texts, since 1 == True in Python.
        return {
            key: value
            for key, value in said.items()
            if json.dumps(value) != json.dumps(default.get(key))
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerFile) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def _sheet(self, called: Sequence[str]) -> Sheet:
        slot = _unused(called, self.under)
        texts = self._around(dict.fromkeys(called, slot)).split(self.written(slot))
        texts[0] = self.before + texts[0]
        return Sheet(tuple(texts[:-1]), texts[-1], self.written(self.yes), self.written(self.no))

    def _listing(self, called: Sequence[str]) -> Listing:
        slot = _unused(called, self.under)
        before, between, after = self._around([slot, slot]).split(self.written(slot))
        names = tuple(map(self.written, called))
        empty = self.before + self._around([])
        return Listing(self.before + before, between, after, empty, names)

    def _around(self, answer: Any) -> str:
        return self.written(answer if self.under is None else {self.under: answer})


def load_answer(path: str | AnyPath) -> AnswerFile:
    """Read an answer file. Raises `ConfigError` that names the file and what is wrong."""
    return load_settings(AnswerFile, path, words=True, name="the answer file")


def shipped_answer() -> AnswerFile:
    """Return the answer file that ships: an object of booleans, guided."""
    return load_settings(
        AnswerFile, str(files("medsent.answers").joinpath("json.yaml")), words=True
    )


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values say the same; words do in any case and with space around them."""
    if isinstance(one, str) and isinstance(other, str):
        return one.strip().casefold() == other.strip().casefold()
    return type(one) is type(other) and bool(one == other)


def _unused(called: Sequence[str], under: str | None) -> str:
    """Return a text that is no part of any name."""
    slot = "value"
    while any(slot in name for name in (*called, under or "")):
        slot += "-"
    return slot
