"""A prompt that is put together from pieces has the ids of its whole text."""

from collections.abc import Callable
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Prepend, Replace
from tokenizers.pre_tokenizers import ByteLevel, Split

from medsent.config.labels import load_labels
from medsent.config.methods import MethodName, known_methods
from medsent.config.personas import load_personas
from medsent.prompts.cuts import Cuts
from medsent.prompts.file import PromptFile, shipped_prompt
from medsent.prompts.prompter import Prompter, _Cut
from tests.prompts.test_hostile import HOSTILE, TEXTS

pytestmark = pytest.mark.slow

FILES: Final = [
    *(shipped_prompt(method) for method in known_methods()),
    PromptFile.model_validate({"text": "Reader: {persona}\nOpinion:\n{opinion}\nAnswer:\n"}),
    PromptFile.model_validate({"text": "A\n{opinion}\nReader: {persona}\n{opinion}\n\nB\n"}),
    PromptFile.model_validate({"text": "{opinion}{persona}"}),
]
READERS: Final = (("pl", "surgeon"), ("en", None), ("en", "surgeon"))


class AsOneText(Prompter):
    """Tokenises each prompt as one text."""

    def _make_cut(self, language: str, persona: str | None) -> _Cut:
        return _Cut([], self._frame(language, persona), [])


@pytest.fixture(scope="module")
def pairs(models: dict[str, Any]) -> list[tuple[Prompter, Prompter]]:
    personas, labels = load_personas(None), load_labels(None)
    return [
        (Prompter(model, file, personas, labels), AsOneText(model, file, personas, labels))
        for model, file in product(models.values(), FILES)
    ]


def records(opinions: list[str]) -> list[tuple[str, str, str | None]]:
    return [(opinion, *reader) for opinion, reader in product(opinions, READERS)]


def test_each_hostile_text_has_the_ids_of_the_whole_prompt(
    pairs: list[tuple[Prompter, Prompter]],
) -> None:
    asked = records([*HOSTILE, *(f"Good. {text} Bad." for text in HOSTILE)])
    for ours, whole in pairs:
        assert ours.prompts(asked) == whole.prompts(asked)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=1, max_size=3), st.data())
def test_any_mixture_of_them_too(
    pairs: list[tuple[Prompter, Prompter]], opinions: list[str], data: st.DataObject
) -> None:
    ours, whole = data.draw(st.sampled_from(pairs))
    assert ours.prompts(records(opinions)) == whole.prompts(records(opinions))


@pytest.fixture(scope="module")
def cutters(models: dict[str, Any]) -> list[tuple[Tokenizer, Cuts]]:
    tokenizers = [models[name].backend_tokenizer for name in ("plain", "trimmed")]
    return [(tokenizer, Cuts(tokenizer)) for tokenizer in tokenizers]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.integers(0, 1))
def test_the_pieces_of_any_text_have_the_ids_of_the_whole(
    cutters: list[tuple[Tokenizer, Cuts]], text: str, number: int
) -> None:
    tokenizer, cuts = cutters[number]

    def ids(part: str) -> list[int]:
        return list(tokenizer.encode(part, add_special_tokens=False).ids)

    for place in {cuts.first(text), cuts.last(text)}:
        assert ids(text[:place]) + ids(text[place:]) == ids(text)


@pytest.mark.parametrize("method", known_methods())
def test_of_the_prompts_that_ship_only_what_is_next_to_an_opinion_is_tokenised_again(
    models: dict[str, Any], method: MethodName
) -> None:
    made = Prompter(models["plain"], shipped_prompt(method), load_personas(None), load_labels(None))
    texts = {made._cut("en", persona).around.text("It hurt.") for persona in load_personas(None)}
    assert len(texts) == 1
    assert len(texts.pop()) <= len("It hurt.") + 3


VOCABULARY: Final = {"<unk>": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "\n": 5, "▁": 6}


def merging(change: Callable[[Tokenizer], None] = lambda _: None, **settings: Any) -> Tokenizer:
    """A tokenizer that merges a and b over all of a text, changed in one thing."""
    made = Tokenizer(BPE(VOCABULARY, [("a", "b")], unk_token="<unk>", **settings))
    change(made)
    return made


def places(tokenizer: Tokenizer, text: str) -> tuple[int, int]:
    cuts = Cuts(tokenizer)
    return cuts.first(text), cuts.last(text)


def test_a_text_is_cut_between_neighbours_that_no_token_has() -> None:
    assert places(merging(), "ab\nab") == (2, 3)
    assert places(merging(), "abab") == (2, 2)
    # Nowhere in: what may merge, what the vocabulary lacks, what is one character or none.
    for text in ("ab", "xaxbx", "a", ""):
        assert places(merging(), text) == (len(text), 0)


def test_it_is_not_cut_inside_an_added_token_or_beside_what_is_replaced() -> None:
    tokenizer = merging(lambda made: made.add_tokens(["ca"]) and None)
    assert places(tokenizer, "bcab") == (1, 1)
    spaced = merging(lambda made: setattr(made, "normalizer", Replace(" ", "▁")))
    assert places(spaced, "c a▁c") == (5, 0)


@pytest.mark.parametrize(
    "tokenizer",
    [
        merging(dropout=0.1),
        merging(ignore_merges=True),
        merging(end_of_word_suffix="</w>"),
        merging(lambda made: setattr(made, "normalizer", Prepend("▁"))),
        merging(lambda made: setattr(made, "normalizer", NFC())),
        merging(lambda made: setattr(made, "normalizer", Replace("c", ""))),
        merging(lambda made: setattr(made, "pre_tokenizer", ByteLevel())),
        merging(lambda made: setattr(made, "pre_tokenizer", Split(Regex(r"\s+"), "isolated"))),
        merging(lambda made: made.add_tokens([AddedToken("<t>", rstrip=True)]) and None),
        merging(lambda made: made.add_tokens([AddedToken("<t>", single_word=True)]) and None),
    ],
)
def test_a_tokenizer_that_works_in_another_way_is_not_cut_for(tokenizer: Tokenizer) -> None:
    assert places(tokenizer, "ab\nab") == (5, 0)
