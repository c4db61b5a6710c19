"""Messages into one text, by the model's chat template or one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medsent.errors import ModelError

_CHANGED = "model.source: its chat template does not keep a message's text as it is"

Turns = Sequence[tuple[str, str]]
"""Role and content of each message."""


@dataclass(frozen=True)
class Edge:
    """Whether a chat template takes white space off an opinion's ends."""

    left: bool = False
    right: bool = False

    def strip(self, opinion: str) -> str:
        """Return the opinion as the chat template leaves it."""
        if self.left:
            opinion = opinion.lstrip()
        return opinion.rstrip() if self.right else opinion


def rendered_turns(
    tokenizer: Any, turns: Turns, slot: str, wanted: bool | None, verbatim: bool = False
) -> tuple[str, list[Edge]]:
    """Return the text of messages, and how the template treats the ends of each `slot` in it.

    A template may take white space off a message's ends, unless they are put in `verbatim`.

    The last message, if it is the assistant's, begins the answer: it stands after what opens
    the model's turn. Without a chat template contents just follow each other. Raises
    `ModelError` where the template is missing, refuses the messages or changes their text.
    """
    if not getattr(tokenizer, "chat_template", None):
        if wanted:
            raise ModelError("the prompt file wants the model's chat template, and it has none")
        wanted = False
    if wanted is False:
        whole = "".join(content for _, content in turns)
        return whole, [Edge()] * whole.count(slot)
    *asked, last = turns
    begun = ""
    if last[0] == "assistant":
        begun = last[1]
    else:
        asked = [*turns]
    if verbatim:
        whole = _verbatim(tokenizer, asked) + begun
        return whole, [Edge()] * whole.count(slot)
    whole = _apply(tokenizer, asked) + begun
    places = sum(content.count(slot) for _, content in turns)
    if whole.count(slot) != places:
        raise ModelError(_CHANGED)
    return whole, _edges(tokenizer, asked, slot, places)


def _verbatim(tokenizer: Any, asked: Turns) -> str:
    """Return the text of messages with their contents put in once the template is through."""
    marks = [f"\x00message {number}\x00" for number in range(len(asked))]
    whole = _apply(tokenizer, [(role, mark) for (role, _), mark in zip(asked, marks, strict=True)])
    for mark, (_, content) in zip(marks, asked, strict=True):
        before, found, after = whole.partition(mark)
        if not found or mark in after:
            raise ModelError(_CHANGED)
        whole = before + content + after
    return whole


def _edges(tokenizer: Any, asked: Turns, slot: str, places: int) -> list[Edge]:
    """Try each place with white space around the opinion, and see what is left of it."""
    spaced = _apply(tokenizer, [(role, text.replace(slot, f" {slot} ")) for role, text in asked])
    around = spaced.split(slot)
    plain = _apply(tokenizer, asked).split(slot)
    edges = [
        Edge(
            left=around[place] == plain[place],
            right=around[place + 1] == plain[place + 1],
        )
        for place in range(len(around) - 1)
    ]
    return edges + [Edge()] * (places - len(edges))  # those in the beginning of the answer


def _apply(tokenizer: Any, turns: Turns) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # whatever a template raises
        raise ModelError(
            f"the model's chat template refuses the prompt's messages "
            f"({', '.join(role for role, _ in turns)}): {type(error).__name__}: {error}"
        ) from error
    return text
