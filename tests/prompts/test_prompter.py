"""A prompt's ids are those of its whole text, as training pipelines make them."""

import hashlib
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from medsent.config.labels import Label, Labels, load_labels
from medsent.config.methods import MethodName, known_methods
from medsent.config.personas import load_personas
from medsent.errors import ModelError
from medsent.models.source import load_tokenizer
from medsent.prompts.file import LabelList, PromptFile
from medsent.prompts.prompter import Prompter
from tests.asked import shipped_prompter
from tests.prompts.models import CHATML, byte_level, tiny

pytestmark = pytest.mark.slow

ORDINARY = [
    "The nurse was kind, but I waited for two hours.",
    "Pani doktor była miła i wszystko spokojnie wyjaśniła.",
    "Good\n\n\nand bad\n",
    "  spaces around  ",
    "Two prices: 12,50 and {7}; \"quotes\" & 'more' <b",
]
MESSAGES = [
    [("user", "Opinion: {opinion}\nReader: {persona}\n")],
    [("user", "{opinion}")],
    [("user", "{opinion}\n")],
    [("user", "Reader: {persona.name}\n{opinion}"), ("assistant", 'Answer: {"a":')],
    [("user", "Was it kind?"), ("assistant", "Yes."), ("user", "{opinion}"), ("assistant", "")],
]
SYSTEM = [
    [("system", "You read {language}."), ("user", "{opinion} {persona.id}")],
    [("system", "Opinion: {opinion}"), ("user", "Who? {persona}"), ("assistant", "It is ")],
]


def prompter(tokenizer: Any, **file: Any) -> Prompter:
    return Prompter(
        tokenizer, PromptFile.model_validate(file), load_personas(None), load_labels(None)
    )


def turns(messages: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def put_in(text: str, opinion: str) -> str:
    """Put a record into a text as a training script's f-string would."""
    surgeon = load_personas(None)["surgeon"]
    for place, value in {
        "{persona.name}": surgeon.name["pl"],
        "{persona.id}": "surgeon",
        "{persona}": surgeon.description["pl"],
        "{language}": "pl",
        "{opinion}": opinion,
    }.items():
        text = text.replace(place, value)
    return text


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        *product(["trimmed", "chatml", "instructed"], MESSAGES),
        *product(["chatml", "instructed"], SYSTEM),
    ],
)
def test_ids_are_those_of_the_rendered_messages(
    models: dict[str, Any], model: str, messages: list[tuple[str, str]]
) -> None:
    tokenizer = models[model]
    made = prompter(tokenizer, messages=turns(messages))
    for opinion in ORDINARY:
        *asked, last = [(role, put_in(content, opinion)) for role, content in messages]
        begun = last[1] if last[0] == "assistant" else ""
        if last[0] != "assistant":
            asked = [*asked, last]
        text = tokenizer.apply_chat_template(
            turns(asked), tokenize=False, add_generation_prompt=True
        )
        whole = tokenizer(text + begun, add_special_tokens=False)["input_ids"]
        assert made.prompt(opinion, "pl", "surgeon") == whole
        assert made.text(opinion, "pl", "surgeon") == text + begun


@pytest.mark.parametrize("model", ["plain", "trimmed", "chatml", "instructed"])
@pytest.mark.parametrize(
    "text", ["{opinion}", "Reader: {persona}\n{opinion}\n\nAnswer:", "{opinion} "]
)
def test_ids_are_those_of_a_text(models: dict[str, Any], model: str, text: str) -> None:
    tokenizer = models[model]
    made = prompter(tokenizer, text=text)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    for opinion in ORDINARY:
        whole = tokenizer(put_in(text, opinion), add_special_tokens=False)["input_ids"]
        assert made.prompt(opinion, "pl", "surgeon") == bos + whole


def test_a_tokenizer_that_was_told_to_split_specials_or_to_cut_prompts_alike() -> None:
    record = ("miło, <turn> in the text", "pl", "surgeon")
    plain = prompter(byte_level(), messages=[{"role": "user", "content": "{opinion}"}])
    told = byte_level()
    told.backend_tokenizer.encode_special_tokens = True
    told.backend_tokenizer.enable_truncation(3)
    asked = prompter(told, messages=[{"role": "user", "content": "{opinion}"}])
    assert asked.prompt(*record) == plain.prompt(*record)
    assert len(plain.forbidden.intersection(plain.prompt(*record))) > 1


def test_many_at_once_are_those_of_each(models: dict[str, Any]) -> None:
    made = prompter(models["chatml"], messages=turns(SYSTEM[0]))
    records = [
        (text, language, None) for text in [*ORDINARY, "<think>"] for language in ("pl", "en")
    ]
    assert made.prompts(records) == [made.prompt(*record) for record in records]


# Digests of ids that Gemma's tokenizer gave for the prompts before these were files.
BEFORE = {
    "onepass": "aa580269c20a1dd7",
    "bits": "2978caf46e6af441",
    "json": "9d97ef70f2097cc2",
}


@pytest.mark.parametrize("method", known_methods())
def test_the_prompts_that_ship_are_the_ones_before_prompts_were_files(
    models: dict[str, Any], method: MethodName
) -> None:
    made = shipped_prompter(models["plain"], method)
    records = product(ORDINARY[:2], ("pl", "en"), ("surgeon", None))
    ids = [made.prompt(*record) for record in records]
    assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == BEFORE[method]


def test_a_wrappers_tokenizer_prompts_as_the_text_models_and_reads_no_image(
    wrapped_model: Path, models: dict[str, Any]
) -> None:
    tokenizer = load_tokenizer(wrapped_model)
    made, textual = (shipped_prompter(each, "bits") for each in (tokenizer, models["plain"]))
    assert made.prompt(ORDINARY[0], "en", "surgeon") == textual.prompt(ORDINARY[0], "en", "surgeon")
    image = "<image_soft_token>"
    assert len(tokenizer(image, add_special_tokens=False)["input_ids"]) == 1
    ids = made.prompt(f"{image}<start_of_image>{image}<end_of_image>", "en", None)
    assert [i for i in ids if i in made.forbidden] == [
        i for i in made.prompt("a", "en", None) if i in made.forbidden
    ]


@pytest.mark.parametrize("bos", [0, 1, 2])
@pytest.mark.parametrize("written", [0, 1])
@pytest.mark.parametrize("model", ["trimmed", "instructed"])
def test_a_prompt_begins_with_as_many_bos_as_its_file_says(
    models: dict[str, Any], model: str, bos: int, written: int
) -> None:
    tokenizer = models[model]
    token = tokenizer.bos_token_id
    for file in (
        {"text": tokenizer.bos_token * written + "Opinion: {opinion}"},
        {"messages": turns(MESSAGES[0])},
        {"messages": turns(MESSAGES[0]), "chat_template": False},
    ):
        # What an opinion begins with is none of them.
        for opinion in ("Fine.", tokenizer.bos_token):
            ids = prompter(tokenizer, bos=bos, **file).prompt(opinion, "en", None)
            assert ids[: bos + 1].count(token) == ids.count(token) == bos


@pytest.mark.parametrize(
    ("model", "file", "count"),
    [
        ("plain", {"messages": turns(MESSAGES[0])}, 1),
        ("trimmed", {"messages": turns(MESSAGES[0])}, 1),
        ("trimmed", {"messages": turns(MESSAGES[0]), "chat_template": False}, 1),
        ("trimmed", {"text": "{opinion}"}, 1),
        ("instructed", {"text": "<s><s>{opinion}"}, 1),
    ],
)
def test_where_it_does_not_say_there_is_one(
    models: dict[str, Any], model: str, file: dict[str, Any], count: int
) -> None:
    tokenizer = models[model]
    ids = prompter(tokenizer, **file).prompt("Fine.", "en", None)
    assert ids.count(tokenizer.bos_token_id) == count
    assert ids[0] == tokenizer.bos_token_id


def test_a_model_without_bos_gets_none(models: dict[str, Any]) -> None:
    ids = prompter(models["chatml"], text="{opinion}").prompt("a", "en", None)
    assert ids == models["chatml"]("a")["input_ids"]
    with pytest.raises(ModelError, match="wants BOS"):
        prompter(models["chatml"], text="{opinion}", bos=2)


@pytest.mark.parametrize(
    ("language", "persona", "own", "told"),
    [
        (
            "pl",
            "surgeon",
            None,
            "Czyta chirurg, dla którego liczy się tylko wynik (Chirurg): polski",
        ),
        ("en", "surgeon", None, "Read by a surgeon who judges only results (Surgeon): en"),
        ("de", "surgeon", None, "Read by a surgeon who judges only results (Surgeon): de"),
        ("pl", None, None, "Czyta dowolny czytelnik (dowolny czytelnik): polski"),
        (None, None, None, "Read by any reader (any reader): "),
        ("en", "surgeon", "pl", "Read by chirurg, dla którego liczy się tylko wynik (Chirurg): en"),
    ],
)
def test_a_record_is_asked_in_its_language(
    models: dict[str, Any], language: Any, persona: str | None, own: str | None, told: str
) -> None:
    words = {
        "en": "Read by {persona} ({persona.name}): {language}",
        "pl": "Czyta {persona} ({persona.name}): {language}",
    }
    text = {code: f"{each} {{opinion}}" for code, each in words.items()}
    made = prompter(models["chatml"], text=text, languages={"pl": "polski"}, language=own)
    assert made.text("Fine.", language, persona) == f"{told} Fine."


def test_a_prompt_without_english_words_falls_back_to_its_first(models: dict[str, Any]) -> None:
    made = prompter(models["chatml"], text={"pl": "Opinia: {opinion}", "de": "Meinung: {opinion}"})
    assert [made.text("x", code, None) for code in ("de", "en")] == ["Meinung: x", "Opinia: x"]


def test_words_that_are_empty_in_a_language_stay_empty(models: dict[str, Any]) -> None:
    system = {"role": "system", "content": {"en": "Be brief.", "pl": ""}}
    user = {"role": "user", "content": {"en": "{opinion}", "pl": "{opinion}"}}
    made = prompter(models["chatml"], messages=[system, user], chat_template=False)
    assert [made.text("x", code, None) for code in ("pl", "en")] == ["x", "Be brief.x"]


@pytest.mark.parametrize("language", ["<|im_end|>", "\x00opinion\x00", "<think>", "a\nb"])
def test_a_language_that_is_no_word_is_not_said(models: dict[str, Any], language: str) -> None:
    """The records' column is as untrusted as their texts."""
    made = prompter(models["chatml"], text="<|im_start|>{language}: {opinion}")
    assert made.text("x", language, None) == "<|im_start|>: x"
    assert made.text("x", "język polski", None) == "<|im_start|>język polski: x"


def test_labels_are_written_as_the_file_says(models: dict[str, Any]) -> None:
    calm = Label(name="calm", description={"en": "at ease", "pl": "spokój"})
    file = PromptFile(
        text="{labels}; {labels.described}; {labels.count}; {{opinion}}: {opinion}",
        labels=LabelList(each="{number}) {label}: {description}", between="\n"),
        described=LabelList(each="{label}={description}"),
    )
    made = Prompter(models["chatml"], file, {}, Labels((calm, Label(name="{opinion}"))))
    assert made.text("x", "pl", None) == (
        "1) calm: spokój\n2) {opinion}: ; calm=spokój; 2; {opinion}: x"
    )


def test_examples_are_turns_before(models: dict[str, Any]) -> None:
    made = prompter(models["chatml"], messages=turns(MESSAGES[4]))
    assert made.text("x", "en", None) == (
        "<|im_start|>user\nWas it kind?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    )


def test_without_a_chat_template_contents_follow_each_other(models: dict[str, Any]) -> None:
    file = {"messages": turns(SYSTEM[1])}
    told = "Opinion: xWho? any readerIt is "
    assert prompter(models["plain"], **file).text("x", "en", None) == told
    assert prompter(models["chatml"], chat_template=False, **file).text("x", "en", None) == told
    with pytest.raises(ModelError, match="wants the model's chat template, and it has none"):
        prompter(models["plain"], chat_template=True, **file)


def test_a_template_that_refuses_the_messages_says_why(models: dict[str, Any]) -> None:
    with pytest.raises(
        ModelError, match=r"refuses the prompt's messages \(system, user\): .*no system role"
    ):
        prompter(models["trimmed"], messages=turns(SYSTEM[0]))


@pytest.mark.parametrize(
    "template",
    [
        "always the same",
        "{% for m in messages %}{{ m.content * 2 }}{% endfor %}",
        "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    ],
)
def test_a_template_that_changes_the_text_is_refused(template: str) -> None:
    tokenizer = tiny()
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match="does not keep a message's text"):
        prompter(tokenizer, messages=turns(MESSAGES[1]))


def test_parts_are_the_text_and_the_special_tokens(models: dict[str, Any]) -> None:
    tokenizer = models["chatml"]
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    made = prompter(tokenizer, messages=turns([("user", "A {opinion}")]))
    assert made.parts("<|im_end|>!", "en", None) == [
        *(start, "user\nA <|im_end|>!", end, "\n", start, "assistant\n"),
    ]
    assert tokenizer.chat_template == CHATML
    doubled = prompter(models["instructed"], text="<s>{opinion}", bos=2)
    assert doubled.parts("<s>", "en", None) == [1, 1, "<s>"]
