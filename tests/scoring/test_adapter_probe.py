"""An adapter that changes no answer is found on fixed probes, before anything is scored."""

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from medsent.config.engine import ScriptedSettings
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted.engine import ScriptedEngine
from medsent.errors import AdapterError
from medsent.prompts.prompter import Prompter
from medsent.scoring.adapter_probe import check_effects
from tests.asked import shipped_prompter


class Noted(ScriptedEngine):
    """Scripted; notes its requests, and how many were in it at a time."""

    def __init__(self) -> None:
        super().__init__(ScriptedSettings(kind="scripted"))
        self.requests: list[Request] = []
        self.most_at_once = self._now = 0

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        completion = await super().complete(request)
        self._now -= 1
        return completion


class Deaf(Noted):
    """Ignores the adapters it is told to."""

    def __init__(self, *ignored: str) -> None:
        super().__init__()
        self._ignored = ignored

    async def complete(self, request: Request) -> Completion:
        heard = replace(request, adapter=None) if request.adapter in self._ignored else request
        return await super().complete(heard)


class Faint(Deaf):
    """Answers almost as the base model, whatever the adapter."""

    async def complete(self, request: Request) -> Completion:
        completion = await super().complete(request)
        if request.adapter is None:
            return completion
        [step] = completion.logprobs
        return replace(completion, logprobs=[{token: p + 5e-5 for token, p in step.items()}])


class Broken(Noted):
    """Its logprobs with an adapter are not numbers."""

    async def complete(self, request: Request) -> Completion:
        completion = await super().complete(request)
        if request.adapter is None:
            return completion
        return replace(completion, logprobs=[dict.fromkeys(completion.logprobs[0], math.nan)])


@pytest.fixture(scope="module")
def prompter(tokenizer: Any) -> Prompter:
    return shipped_prompter(tokenizer, personas={})


def check(engine: Noted, prompter: Prompter, *adapters: str) -> None:
    try:
        asyncio.run(check_effects(engine, dict.fromkeys(adapters, prompter)))
    finally:
        engine.close()


def test_adapters_that_work_pass(prompter: Prompter) -> None:
    engine = Noted()
    check(engine, prompter, "small", "large")
    assert {request.adapter for request in engine.requests} == {None, "small", "large"}
    assert engine.most_at_once == 1


def test_no_probe_finds_what_another_has_left_in_the_cache(prompter: Prompter) -> None:
    """It would go another way through the engine than its counterpart, and differ by noise."""
    engine = Noted()
    check(engine, prompter, "small", "large")
    salts = [request.cache_salt for request in engine.requests]
    assert None not in salts
    assert len(set(salts)) == len(salts) == 8


def test_base_and_adapter_are_asked_the_same(prompter: Prompter) -> None:
    engine = Noted()
    check(engine, prompter, "small")
    asked = [(tuple(request.prompt), request.ask) for request in engine.requests]
    assert asked[::2] == asked[1::2]
    assert {request.adapter for request in engine.requests[::2]} == {None}


def test_without_adapters_nothing_is_asked(prompter: Prompter) -> None:
    engine = Noted()
    check(engine, prompter)
    assert engine.requests == []


@pytest.mark.parametrize("deaf_to", ["small", "large"])
def test_one_that_changes_nothing_is_named_with_the_probable_reason(
    prompter: Prompter, deaf_to: str
) -> None:
    with pytest.raises(
        AdapterError, match=rf"^variants\.{deaf_to}\.adapter changes noth.* put none"
    ):
        check(Deaf(deaf_to), prompter, "small", "large")


def test_one_that_changes_next_to_nothing_is_told_from_one_that_is_not_there(
    prompter: Prompter,
) -> None:
    with pytest.raises(AdapterError, match=r"changes nothing.* alike, to 5e-05: was it trained"):
        check(Faint("small"), prompter, "small")


def test_answers_that_are_no_numbers_are_no_effect(prompter: Prompter) -> None:
    with pytest.raises(AdapterError, match=r"variants\.small\.adapter does not work.*NaN"):
        check(Broken(), prompter, "small")
