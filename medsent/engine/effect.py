"""Does an adapter change what the engine answers? Asked before anything is scored."""

from collections.abc import Mapping

from medsent.engine.protocol import Ask, Completion, Engine, Request
from medsent.errors import AdapterError
from medsent.prompts import Prompter

_PROBES = (
    "The doctor was kind and explained everything.",
    "Czekałam pięć godzin, a potem pani na mnie nakrzyczała.",
)
_MOST_IDS = 64
_SMALLEST = 1e-4


async def check_effects(engine: Engine, prompters: Mapping[str, Prompter]) -> None:
    """Compare base and adapters on fixed made-up probes; `prompters` is by adapter.

    A LoRA can load without an error and yet do nothing. Requests go one at a time and
    none twice, so that an adapter without effect gives exactly the base's logprobs.
    Raises `AdapterError` where none differs.
    """
    for adapter, prompter in prompters.items():
        largest = 0.0
        for probe in _PROBES:
            # A salt keeps one adapter's probes out of the other's prefix cache.
            prompt = prompter.prompt(f"{adapter}: {probe}", "en", None)
            ask = Ask(max_tokens=1, token_ids=tuple(sorted(set(prompt))[:_MOST_IDS]))
            without = await engine.complete(Request(prompt, ask, None))
            with_it = await engine.complete(Request(prompt, ask, adapter))
            largest = max(largest, _difference(without, with_it))
        if not largest > _SMALLEST:
            raise AdapterError(
                f"variants.{adapter}.adapter changes nothing: base model and adapter answer fixed "
                "probes alike. Does the engine support LoRA for this model? Nothing was scored"
            )


def _difference(one: Completion, other: Completion) -> float:
    first, second = one.logprobs[0], other.logprobs[0]
    return max(abs(first[token] - second[token]) for token in first.keys() & second.keys())
