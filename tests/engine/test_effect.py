"""An adapter that changes no answer is found on fixed probes, before anything is scored."""

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from medsent.answers import onepass
from medsent.config import ScriptedSettings
from medsent.engine.effect import check_effects
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted import ScriptedEngine
from medsent.errors import AdapterError
from medsent.prompts import Prompter


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


class Broken(Noted):
    """Its logprobs with an adapter are not numbers."""

    async def complete(self, request: Request) -> Completion:
        completion = await super().complete(request)
        if request.adapter is None:
            return completion
        return replace(completion, logprobs=[dict.fromkeys(completion.logprobs[0], math.nan)])


@pytest.fixture(scope="module")
def prompter(tokenizer: Any) -> Prompter:
    return Prompter(tokenizer, onepass.PROMPT, {})


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


def test_no_probe_is_asked_twice(prompter: Prompter) -> None:
    """A repeated one would come from the prefix cache, by another way through the engine."""
    engine = Noted()
    check(engine, prompter, "small", "large")
    asked = [(tuple(request.prompt), request.adapter) for request in engine.requests]
    assert len(set(asked)) == len(asked)
    ones = {tuple(r.prompt) for r in engine.requests if r.adapter == "small"}
    others = {tuple(r.prompt) for r in engine.requests if r.adapter == "large"}
    assert not ones & others


def test_without_adapters_nothing_is_asked(prompter: Prompter) -> None:
    engine = Noted()
    check(engine, prompter)
    assert engine.requests == []


@pytest.mark.parametrize("deaf_to", ["small", "large"])
def test_one_that_changes_nothing_is_named(prompter: Prompter, deaf_to: str) -> None:
    with pytest.raises(AdapterError, match=rf"^variants\.{deaf_to}\.adapter changes nothing"):
        check(Deaf(deaf_to), prompter, "small", "large")


def test_answers_that_are_no_numbers_are_no_effect(prompter: Prompter) -> None:
    with pytest.raises(AdapterError, match=r"variants\.small\.adapter"):
        check(Broken(), prompter, "small")
