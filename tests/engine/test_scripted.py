"""The scripted engine of the tests: the same answer each time, another for each adapter."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from medsent.answers.file import AnswerFile
from medsent.answers.method import Answer
from medsent.answers.methods.json import Json
from medsent.config.engine import ScriptedSettings
from medsent.config.labels import LABELS, Label, Labels
from medsent.config.methods import MethodName
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted.engine import ScriptedEngine
from medsent.engine.scripted.faults import Faults
from medsent.errors import EngineDiedError
from medsent.models.source import load_tokenizer
from medsent.predictions import AnswerStatus as Status
from tests.asked import shipped_method

HALF = [0.5] * len(LABELS)
METHODS: list[MethodName] = ["onepass", "bits", "json"]


@pytest.fixture(scope="module")
def small(small_model: Path) -> Any:
    return load_tokenizer(small_model)


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
    assert {answer.status for answer in read} == {Status.OK}
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


def asked_freely(tokenizer: Any, answer: AnswerFile, count: int) -> list[tuple[Answer, Completion]]:
    labels = Labels(tuple(Label(name=f"etykieta {number}") for number in range(count)))
    method = Json(tokenizer, labels, answer)
    requests = [Request([2, i], method.ask, None) for i in range(640)]
    found = answers(requests, max_num_seqs=64)
    return [(method.read(each, [0.5] * count), each) for each in found]


@pytest.mark.parametrize("count", [1, 5, 60])
@pytest.mark.parametrize(
    ("form", "faults"),
    [
        (
            {},
            {
                Status.TRUNCATED,
                Status.NO_JSON,
                Status.LABEL_MISSING,
                Status.LABEL_UNKNOWN,
            },
        ),
        ({"under": "etykiety", "yes": "tak", "no": "nie", "style": "indented"}, None),
        (
            {"form": "list"},
            {Status.TRUNCATED, Status.NO_JSON, Status.LABEL_UNKNOWN},
        ),
    ],
)
def test_answers_without_a_grammar_go_wrong_in_every_way(
    small: Any, count: int, form: dict[str, Any], faults: set[str] | None
) -> None:
    read = asked_freely(small, AnswerFile(guided=False, **form), count)
    statuses = Counter(answer.status for answer, _ in read)
    wanted = faults or {
        Status.TRUNCATED,
        Status.NO_JSON,
        Status.LABEL_MISSING,
        Status.LABEL_UNKNOWN,
    }
    assert set(statuses) == {Status.OK, *wanted}
    for status in wanted:  # one in sixteen, give or take
        assert 15 <= statuses[status] <= 75
    assert {answer.labels is None for answer, _ in read if answer.status != Status.OK} == {True}
    assert {done.truncated for answer, done in read if answer.status == Status.TRUNCATED} == {True}
    mended = sum(answer.repaired is True for answer, _ in read)
    assert 15 <= mended <= 75
    fenced = [answer for answer, done in read if "```json" in done.text]
    assert {answer.status for answer in fenced} == {Status.OK}
    assert 15 <= len(fenced) <= 75


def test_what_goes_wrong_is_the_same_each_time_and_right_under_a_grammar(small: Any) -> None:
    free = asked_freely(small, AnswerFile(guided=False), 5)
    again = asked_freely(small, AnswerFile(guided=False), 5)
    assert [done.text for _, done in free] == [done.text for _, done in again]
    guided = asked_freely(small, AnswerFile(), 5)
    assert {answer.status for answer, _ in guided} == {Status.OK}
    for (answer, _), (right, _) in zip(free, guided, strict=True):
        assert answer.labels in (None, right.labels)
        assert right.probabilities is not None
        assert answer.probabilities is None


def test_its_process_takes_faults_from_the_environment(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Faults(deadly_token=7).environment().items():
        monkeypatch.setenv(name, value)
    request = Request([2, 7], shipped_method("onepass", tokenizer).ask, None)
    with pytest.raises(EngineDiedError, match="SIGKILL"):
        answers([request])
