"""What the scorer asks of an engine, and what an engine gives back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from medsent.engine.answer_form import Form


@dataclass(frozen=True)
class Ask:
    """How to answer a prompt."""

    max_tokens: int
    token_ids: tuple[int, ...] = ()
    """Vocabulary ids whose logprobs are wanted at each generated position."""
    form: Form | None = None
    """What a written answer looks like; None where none is written."""
    guided: bool = True
    """Whether the engine must keep to the form."""
    choices: tuple[tuple[int, int], ...] = ()
    """For each label of a sheet, the tokens that decide yes and no; both are in `token_ids`."""
    text: bool = False
    """Whether the answer's text is wanted."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    """Of this answer; what is drawn is the same each time."""


@dataclass(frozen=True)
class Request:
    """One prompt for one variant."""

    prompt: list[int]
    ask: Ask
    adapter: str | None
    """The name of the variant whose adapter applies; None for the base model."""
    cache_salt: str | None = None
    """Only requests of the same salt share what the engine keeps of a prompt's beginning."""


@dataclass(frozen=True)
class Completion:
    """An engine's answer, with what it cost."""

    text: str
    logprobs: list[dict[int, float]]
    """For each generated position: vocabulary id to natural logprob."""
    truncated: bool
    """Whether it ended at `max_tokens` rather than by itself."""
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    latency_s: float
    finished_at: datetime
    pieces: tuple[str, ...] = ()
    """The text of each generated token; together they are the answer's text."""
    token_ids: tuple[int, ...] = ()
    """The generated tokens' vocabulary ids, where the logprobs hold theirs."""
    attempt: int = 1
    """Times the request was sent, its last one included: engines die."""


class Engine(Protocol):
    """Answers requests, many at a time; requests are served in the order they come."""

    @property
    def max_num_seqs(self) -> int:
        """Sequences it works on at a time."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request. Raises `EngineError` when it cannot."""
        ...

    def kill(self) -> None:
        """End every process of the engine at once, also where it answers no more."""
        ...

    def close(self) -> None:
        """Free the device and end every process of the engine."""
        ...
