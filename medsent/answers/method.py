"""An answer method: what it asks, how it reads a completion, and how it is learnt."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from medsent.answers.file import AnswerFile
from medsent.answers.targets import Targets
from medsent.config.labels import Labels
from medsent.config.methods import MODULES
from medsent.engine.protocol import Ask, Completion
from medsent.predictions import AnswerStatus
from medsent.prompts.file import PromptFile

Write = Callable[[npt.NDArray[np.float32]], Targets]
"""Makes the answer to be learnt of a row of gold (L of 0, 1 or NaN)."""


@dataclass(frozen=True)
class Answer:
    """One reading of one record by one variant."""

    status: AnswerStatus
    labels: list[bool] | None = None
    probabilities: list[float] | None = None
    text: str | None = None
    repaired: bool | None = None
    """Whether broken JSON was mended to read it; None where answers are never mended."""


class Method(Protocol):
    """An answer method, bound to a tokenizer and to labels."""

    ask: Ask
    room: int
    """Tokens that are left free for an answer beside its prompt."""

    def read(self, completion: Completion, thresholds: npt.ArrayLike) -> Answer:
        """Turn a completion into labels; never raises on a bad answer."""
        ...


@dataclass(frozen=True)
class AnswerMethod:
    """What there is to know of an answer method; the answer file is that of `json`, else None."""

    name: str
    prompt: Callable[[], PromptFile]
    """Returns the prompt that is asked where no other is named."""
    bind: Callable[[Any, Labels, AnswerFile | None], Method]
    """Binds the method to a tokenizer, labels and an answer file. Raises `ModelError` where the
    method does not work with this tokenizer and these labels."""
    says: str
    """What an answer is, in words; `{labels}` is their number."""
    is_written: bool = True
    """Whether the model writes an answer; else the words of the labels are read from the
    probabilities of one token."""
    has_probabilities: bool = True
    """Whether each label has one; in `json` the answer file has its say too."""
    training: Literal["logits"] | Callable[[Any, Labels, AnswerFile | None], Write] | None = None
    """`logits` of the tokens that it asks for, or a function that takes what `bind` takes and
    returns the writer of the answers to be learnt; None where it cannot be trained."""


def method_named(name: str) -> AnswerMethod:
    """Return the answer method of a name that the configuration knows."""
    method: AnswerMethod = import_module(f"{MODULES}.{name}").METHOD
    return method


def decided(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike, text: str | None) -> Answer:
    """Return the answer that these probabilities (L,) make."""
    # Decided on the stored float32, so that a report that relabels from it agrees to the bit.
    stored = np.asarray(probabilities, np.float32).astype(float)
    return Answer(AnswerStatus.OK, (stored >= thresholds).tolist(), stored.tolist(), text)


def unusable(completion: Completion) -> Answer:
    """Return the answer of a text that cannot be read."""
    return Answer(
        AnswerStatus.TRUNCATED if completion.truncated else AnswerStatus.INVALID_ANSWER,
        text=completion.text,
    )
