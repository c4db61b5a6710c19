"""What the readers of one opinion share of their prompts, and what the persona's place costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from medsent.prompts.prompter import Prompter
from medsent.prompts.visible import alike


@dataclass(frozen=True)
class Sharing:
    """The prompts of N readers of one opinion, which an engine computes with a shared prefix."""

    lengths: tuple[int, ...]
    """(N,) tokens of each prompt."""
    shared: int
    """Tokens that all of them begin with."""
    head: int
    """Tokens to the end of the opinion, were the persona named after it."""

    @property
    def total(self) -> int:
        """Tokens of all prompts."""
        return sum(self.lengths)

    @property
    def computed(self) -> int:
        """Tokens to compute, what is shared once."""
        return _once(self.lengths, self.shared)

    @property
    def moved(self) -> int:
        """Tokens to compute, were the persona named after the opinion."""
        return _once(self.lengths, max(self.head, self.shared))


def sharing(
    prompter: Prompter, opinion: str, language: str, personas: Sequence[str | None]
) -> Sharing:
    """Measure the prompts of some readers, at least one, of an opinion."""
    prompts = prompter.prompts([(opinion, language, persona) for persona in personas])
    head = len(prompter.without_readers().head(opinion, language, ""))
    lengths = tuple(map(len, prompts))
    return Sharing(lengths, shared_prefix(prompts), min(head, *lengths))


def shared_prefix(prompts: Sequence[list[int]]) -> int:
    """Return how many token ids all of some prompts begin with."""
    return alike(min(prompts), max(prompts))  # of sorted sequences these two differ first


def _once(lengths: Sequence[int], shared: int) -> int:
    return shared + sum(length - shared for length in lengths)
