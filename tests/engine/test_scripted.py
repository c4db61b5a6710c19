"""The scripted engine of the tests: the same answer each time, another for each adapter."""

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import pytest

from medsent.config import MethodName, ScriptedSettings
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted import ScriptedEngine
from medsent.labels import LABELS
from medsent.predictions import OK
from tests.asked import shipped_method

HALF = [0.5] * len(LABELS)
METHODS: list[MethodName] = ["onepass", "bits", "json"]


def answers(requests: Iterable[Request], **settings: Any) -> list[Completion]:
    async def ask() -> list[Completion]:
        engine = ScriptedEngine(ScriptedSettings(kind="scripted", **settings))
        try:
            return await asyncio.gather(*map(engine.complete, requests))
        finally:
            engine.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("name", METHODS)
def test_each_method_can_read_its_answers(tokenizer: Any, name: MethodName) -> None:
    method = shipped_method(name, tokenizer)
    requests = [Request([2, i], method.ask, None) for i in range(40)]
    read = [method.read(completion, HALF) for completion in answers(requests)]
    assert {answer.status for answer in read} == {OK}
    labels = [answer.labels for answer in read]
    for column in zip(*labels, strict=True):
        assert set(column) == {True, False}


@pytest.mark.parametrize("name", METHODS)
def test_order_and_company_do_not_matter(tokenizer: Any, name: MethodName) -> None:
    ask = shipped_method(name, tokenizer).ask
    requests = [Request([2, i], ask, adapter) for i in range(10) for adapter in (None, "a", "b")]
    first = [(c.text, c.logprobs) for c in answers(requests)]
    order = list(range(len(requests)))
    random.Random(0).shuffle(order)
    shuffled = answers([requests[i] for i in order], max_num_seqs=3)
    assert [(c.text, c.logprobs) for c in shuffled] == [first[i] for i in order]


@pytest.mark.parametrize("name", METHODS)
def test_prompt_and_adapter_change_the_answer(tokenizer: Any, name: MethodName) -> None:
    ask = shipped_method(name, tokenizer).ask
    prompts: list[tuple[list[int], str | None]] = [
        ([2, 7], None),
        ([7, 2], None),
        ([2, 7], "a"),
        ([2, 7], "b"),
    ]
    found = answers([Request(prompt, ask, adapter) for prompt, adapter in prompts])
    assert len({(c.text, str(c.logprobs)) for c in found}) == len(prompts)


def test_it_tells_what_an_answer_cost(tokenizer: Any) -> None:
    ask = shipped_method("bits", tokenizer).ask
    [completion] = answers([Request([2, 7, 9], ask, None)])
    assert (completion.prompt_tokens, completion.cached_tokens) == (3, 0)
    assert completion.output_tokens == len(LABELS)
    assert not completion.truncated
    assert completion.finished_at.tzinfo is not None
