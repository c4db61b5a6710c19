"""A variant bound to the model's tokenizer: how it asks, and how it reads an answer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medsent.answers.method import Answer, Method
from medsent.engine.protocol import Completion, Request
from medsent.prompts.prompter import Prompter
from medsent.scoring.plan import Plan
from medsent.scoring.variant import Variant


@dataclass(frozen=True)
class BoundVariant:
    """One variant in one scorer."""

    variant: Variant
    method: Method
    prompter: Prompter

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.name

    @property
    def adapter(self) -> str | None:
        """The name under which the engine knows the variant's adapter; None without one."""
        return self.variant.name if self.variant.adapter else None

    @property
    def answer_tokens(self) -> int:
        """The tokens that are left free for an answer beside its prompt."""
        return self.method.room

    def request(self, prompt: list[int]) -> Request:
        """Return what to send to the engine for a prompt's token ids."""
        return Request(prompt, self.method.ask, self.adapter)

    def read(self, completion: Completion) -> Answer:
        """Turn a completion into labels, with the variant's thresholds."""
        return self.method.read(completion, self._thresholds)

    @cached_property
    def _thresholds(self) -> npt.NDArray[np.float64]:
        return np.array(list(self.variant.thresholds.values()))


def bind_variants(plan: Plan, tokenizer: Any) -> tuple[BoundVariant, ...]:
    """Return the plan's variants, bound to a tokenizer, in the order to ask them."""
    route = plan.config.route
    bound_variants = []
    # The fallback is asked last: which records it gets depends on the candidate's answers.
    for variant in sorted(
        plan.variants, key=lambda v: route is not None and v.name == route.fallback
    ):
        method, prompter = variant.bind(tokenizer, plan.personas, plan.labels)
        prompter.prepare()
        bound_variants.append(BoundVariant(variant, method, prompter))
    return tuple(bound_variants)
