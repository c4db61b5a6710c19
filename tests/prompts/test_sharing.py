"""What readers of an opinion share, counted on the very prompts."""

from typing import Any

import pytest

from medsent.config.labels import load_labels
from medsent.config.personas import Persona
from medsent.prompts.file import PromptFile
from medsent.prompts.prompter import Prompter
from medsent.prompts.sharing import shared_prefix, sharing

PERSONAS = {
    name: Persona(id=name, name={"en": name}, description={"en": name}) for name in ("a", "bb", "c")
}


@pytest.fixture
def words(models: dict[str, Any]) -> Any:
    """A tokenizer of Unicode's words and spaces would do; bytes of one letter each do as well."""
    return models["chatml"]


def measured(tokenizer: Any, text: str, opinion: str = "x y z") -> tuple[Any, list[list[int]]]:
    prompter = Prompter(tokenizer, PromptFile(text=text), PERSONAS, load_labels(None))
    prompts = [prompter.prompt(opinion, "en", name) for name in PERSONAS]
    return sharing(prompter, opinion, "en", list(PERSONAS)), prompts


def test_the_persona_after_the_opinion_shares_it(words: Any) -> None:
    found, prompts = measured(words, "Q\n{opinion}\n@{persona}@")
    assert found.lengths == tuple(map(len, prompts))
    assert found.total == sum(map(len, prompts))
    ahead = words("Q\nx y z\n@")["input_ids"]
    assert found.shared == len(ahead) == shared_prefix(prompts)
    assert found.computed == len(ahead) + sum(len(each) - len(ahead) for each in prompts)
    assert found.moved == found.computed


def test_the_persona_before_it_shares_nothing_of_it(words: Any) -> None:
    opinion = "x y z " * 30
    found, prompts = measured(words, "@{persona}@\n{opinion}\nQ", opinion)
    after, _ = measured(words, "@@\n{opinion}\nQ{persona}", opinion)
    assert found.shared == 1
    assert found.computed == 1 + sum(len(each) - 1 for each in prompts)
    assert abs(found.moved - after.computed) <= 6  # what each reader has after the opinion
    assert 2.5 < found.computed / found.moved < 3


def test_a_prompt_that_names_nobody_is_shared_whole(words: Any) -> None:
    found, prompts = measured(words, "Q {opinion} R")
    assert found.shared == found.computed == len(prompts[0])


def test_shared_prefix_of_unlike_lengths() -> None:
    assert shared_prefix([[1, 2], [1, 2, 3], [1, 2, 4]]) == 2
    assert shared_prefix([[1], [2]]) == 0
    assert shared_prefix([[1, 2]]) == 2
