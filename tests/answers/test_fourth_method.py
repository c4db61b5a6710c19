"""A fourth answer method is one module: a job runs with one that only this test knows."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from pydantic import ValidationError

from medsent.answers import methods
from medsent.answers.method import method_named
from medsent.commands.evaluate import evaluate
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.task import open_task
from medsent.config.methods import known_methods
from medsent.errors import ConfigError
from tests.conftest import JobBuilder

FIRST_LABEL = '''
"""The first label alone, as one digit."""

from medsent.answers.method import Answer, AnswerMethod
from medsent.engine.answer_form import Sheet
from medsent.engine.protocol import Ask
from medsent.predictions import AnswerStatus
from medsent.prompts.file import PromptFile


class FirstLabel:
    def __init__(self, tokenizer, labels, _):
        self.room, self._size = 1, len(labels)
        self.ask = Ask(max_tokens=1, form=Sheet(("",), "", "1", "0"), text=True)

    def read(self, completion, thresholds):
        if completion.text not in ("0", "1"):
            return Answer(AnswerStatus.INVALID_ANSWER, text=completion.text)
        others = [False] * (self._size - 1)
        return Answer(AnswerStatus.OK, [completion.text == "1", *others], None, completion.text)


def prompt():
    return PromptFile(text="{opinion} {labels}: ")


METHOD = AnswerMethod("first_label", prompt, FirstLabel, "a digit", has_probabilities=False)
'''


@pytest.fixture
def first_label(tmp_path: Path) -> Iterator[str]:
    """Add the module to those that ship; Ray's actors, which lack it, are sent its content."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "first_label.py").write_text(FIRST_LABEL)
    methods.__path__.append(str(folder))
    module = import_module(f"{methods.__name__}.first_label")
    ray.cloudpickle.register_pickle_by_value(module)
    yield "first_label"
    ray.cloudpickle.unregister_pickle_by_value(module)
    methods.__path__.remove(str(folder))


def test_each_method_is_called_as_its_module() -> None:
    assert known_methods() == ("bits", "json", "onepass")
    assert [method_named(name).name for name in known_methods()] == list(known_methods())
    assert all(method_named(name).training for name in known_methods())


def test_a_method_whose_module_is_not_there_is_refused(job: JobBuilder) -> None:
    with pytest.raises(ValidationError, match="'bits', 'json' or 'onepass'"):
        job(variants={"first": {"method": "first_label"}})


@pytest.mark.ray
def test_a_job_runs_with_a_fourth_method(
    first_label: str, job: JobBuilder, cluster: None, tmp_path: Path
) -> None:
    evaluate(job(variants={"first": {"method": first_label}, "plain": {}}))
    [run] = (tmp_path / "runs").iterdir()
    answers = pq.read_table(run / "predictions")["first"].to_pylist()
    assert {answer["status"] for answer in answers} == {"ok"}
    assert {answer["answer"] for answer in answers} == {"0", "1"}
    for answer in answers:
        assert list(answer["labels"].values()).count(True) == int(answer["answer"])
        assert answer["probabilities"] is None
    assert "first_label" in (run / "metrics.json").read_text()


def test_one_that_cannot_be_trained_is_refused(first_label: str) -> None:
    config = TrainingConfig.model_validate(
        {
            "name": "a",
            "model": {"source": "m"},
            "method": first_label,
            "data": {"train": "t", "validation": "v"},
            "output": "o",
        }
    )
    with pytest.raises(ConfigError, match="nothing can be trained for first_label"):
        open_task(config)
