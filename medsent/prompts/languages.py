"""The languages that a job has words in."""

from collections.abc import Iterable, Iterator

from medsent.config.labels import Labels
from medsent.config.personas import Persona
from medsent.prompts.file import PromptFile, Wording


def languages_of(
    personas: Iterable[Persona], labels: Labels, prompts: Iterable[PromptFile]
) -> frozenset[str]:
    """Return the languages that personas, labels or prompts are worded in, by their codes."""
    words = [each for persona in personas for each in (persona.name, persona.description)]
    words += [label.description for label in labels.all]
    return frozenset(code for each in (*words, *_wordings(prompts)) for code in each)


def _wordings(prompts: Iterable[PromptFile]) -> Iterator[dict[str, str]]:
    for prompt in prompts:
        wordings: list[Wording | None] = [prompt.text, prompt.nobody, prompt.languages]
        wordings += [turn.content for turn in prompt.messages or ()]
        yield from (each for each in wordings if isinstance(each, dict))
