"""Does an adapter change what the engine answers? Asked before anything is scored."""

import math
from collections.abc import Mapping
from uuid import uuid4

from medsent.engine.protocol import Ask, Completion, Engine, Request
from medsent.errors import AdapterError
from medsent.prompts.prompter import Prompter

_PROBES = (
    "The doctor was kind and explained everything.",
    "Czekałam pięć godzin, a potem pani na mnie nakrzyczała.",
)
_MOST_IDS = 64
_SMALLEST = 1e-4


async def check_effects(engine: Engine, prompters: Mapping[str, Prompter]) -> None:
    """Compare base and adapters on fixed made-up probes; `prompters` is by adapter.

    A LoRA can load without an error and yet do nothing. Requests go one at a time and share no
    cached prefix: a cached prefix changes the shape of the computation, and so adds noise to
    the result. So an adapter without effect gives exactly the base's logprobs. Raises
    `AdapterError` for such an adapter.
    """
    for adapter, prompter in prompters.items():
        differences = []
        for probe in _PROBES:
            prompt = prompter.prompt(probe, "en", None)
            without = await _ask(engine, prompt, None)
            with_it = await _ask(engine, prompt, adapter)
            differences.append(_difference(without, with_it))
        if min(differences) < 0 or max(differences) <= _SMALLEST:
            raise AdapterError(f"variants.{adapter}.adapter {_fault(differences)}")


async def _ask(engine: Engine, prompt: list[int], adapter: str | None) -> Completion:
    ask = Ask(max_tokens=1, token_ids=tuple(sorted(set(prompt))[:_MOST_IDS]))
    return await engine.complete(Request(prompt, ask, adapter, cache_salt=uuid4().hex))


def _difference(one: Completion, other: Completion) -> float:
    """Return the largest difference of logprobs; -inf where one of them is no number."""
    first, second = one.logprobs[0], other.logprobs[0]
    found = [abs(first[token] - second[token]) for token in first.keys() & second.keys()]
    return -math.inf if any(map(math.isnan, found)) else max(found)


def _fault(differences: list[float]) -> str:
    if min(differences) < 0:
        return (
            "does not work: its answers to fixed test prompts are not numbers. Do its weights hold "
            "NaN or infinity? Nothing was scored"
        )
    reason = "to the last digit, so that vLLM put none of its tensors into this model"
    if max(differences) > 0:
        reason = f"to {max(differences):.0e}: was it trained for long enough?"
    return (
        "changes nothing: base model and adapter answer fixed test prompts alike, "
        f"{reason}. Nothing was scored"
    )
