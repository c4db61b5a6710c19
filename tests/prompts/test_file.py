"""A prompt file is read strictly: what is wrong with one is named, with what would be right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.config.labels import load_labels
from medsent.config.loader import yaml_text
from medsent.config.methods import MethodName, known_methods
from medsent.errors import ConfigError
from medsent.prompts.file import (
    PromptFile,
    fingerprint_part,
    in_language,
    load_prompt,
    shipped_prompt,
    spoken_for,
)

USER = {"role": "user", "content": "{opinion}"}


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"text": "{opinion} {persona.nam}"},
            r"did you mean \{persona\.name\}\?.*\{\{persona\.nam\}\}",
        ),
        ({"text": "{opinion} {xyz}"}, r"\{xyz\} is no placeholder here; known are \{opinion\}, "),
        (user("{opinion} {labels.descibed}"), r"did you mean \{labels\.described\}\?"),
        ({"text": {"en": "{opinion}", "pl": "{opinia}"}}, r"\{opinia\} is no place"),
        (
            {"text": "{opinion}", "labels": {"each": "{labels}"}},
            r"labels\.each: .*\{labels\} is no",
        ),
        ({"text": "{opinion}", "described": {"each": "{x}"}}, r"described\.each"),
        ({"text": "Reader: {persona}"}, r"it has no \{opinion\}"),
        ({"text": "{{opinion}}"}, r"it has no \{opinion\}"),
        ({"text": {"en": "{opinion}", "pl": "Opinia"}}, r"it has no \{opinion\} in 'pl'"),
        ({"text": {}}, "its texts are in different languages: none"),
        (
            {
                "messages": [
                    {"role": "system", "content": {"en": "a"}},
                    user({"pl": "{opinion}"})["messages"][0],
                ]
            },
            "its texts are in different languages: en and pl",
        ),
        ({"text": "{opinion}", "messages": [USER]}, "give either messages or text"),
        ({}, "give either messages or text"),
        ({"messages": []}, "messages is empty"),
        ({"text": "{opinion}", "chat_template": True}, "chat_template goes with messages"),
        ({"text": "{opinion}", "nobody": {}}, "nobody is empty"),
        ({"text": "{opinion}", "bos": 3}, "bos: .*less than or equal to 2"),
        ({"txt": "{opinion}"}, "unknown setting txt; did you mean text?"),
        (
            {"messages": [{"rle": "user", "content": "{opinion}"}]},
            r"unknown setting messages\.0\.rle; did you mean role",
        ),
        ({"messages": [{"role": "model", "content": "{opinion}"}]}, r"messages\.0\.role"),
        ({"text": "{opinion}", "labels": {"betwen": ";"}}, r"labels\.betwen; did you mean between"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    file = tmp_path / "prompt.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=told) as refused:
        load_prompt(file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_prompt(tmp_path / "gone.yaml")
    (tmp_path / "bad.yaml").write_text('text: "{opinion}')
    with pytest.raises(ConfigError, match="is not YAML: line 1"):
        load_prompt(tmp_path / "bad.yaml")


@pytest.mark.parametrize("method", known_methods())
def test_those_that_ship_name_the_reader_last_and_speak_one_language(method: MethodName) -> None:
    prompt = shipped_prompt(method)
    assert prompt.names_persona
    assert not prompt.persona_first
    assert not prompt.describes_each_label
    assert prompt.spoken == ()


def test_what_is_said_in_a_file_decides_its_digest(tmp_path: Path) -> None:
    digests = set()
    for number, text in enumerate(
        ("text: '{opinion}'", "text: '{opinion} '", "{text: '{opinion}', bos: 1}")
    ):
        (tmp_path / f"{number}.yaml").write_text(text)
        digests.add(load_prompt(tmp_path / f"{number}.yaml").digest())
    assert len(digests) == 3
    default = PromptFile(text="{opinion}", nobody={"en": "any reader", "pl": "dowolny czytelnik"})
    assert default.digest() == PromptFile(text="{opinion}").digest()


def test_it_is_the_same_when_written_and_read_again(tmp_path: Path) -> None:
    text = {"en": "A: {opinion}\n\nB \u2028", "no": " {opinion}\n"}
    prompt = PromptFile(text=text, languages={"no": "norsk"})
    file = tmp_path / "prompt.yaml"
    file.write_text(yaml_text(prompt.content()), encoding="utf-8")
    assert load_prompt(file) == prompt


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["{persona} {opinion}"], True),
        (["{opinion} {persona}"], False),
        (["{opinion} {persona} {opinion}"], True),
        (["{persona.id}", "{opinion}"], True),
        (["{opinion}", "{persona.name}"], False),
        (["{labels} {opinion}"], False),
        ([{"en": "{opinion} {persona}", "pl": "{persona} {opinion}"}], True),
        (["{{persona}} {opinion}"], False),
    ],
)
def test_whether_the_persona_stands_before_the_opinion(texts: list[Any], first: bool) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    assert PromptFile.model_validate({"messages": messages}).persona_first == first


def test_whether_each_label_is_described() -> None:
    each = {"each": "{label}: {description}"}
    for text, labels, described in (
        ("{labels} {opinion}", each, True),
        ("{opinion}", each, False),
        ("{labels} {opinion}", {}, False),
        ("{labels.described} {opinion}", each, False),
    ):
        prompt = PromptFile.model_validate({"text": text, "labels": labels})
        assert prompt.describes_each_label == described


def test_words_of_a_language() -> None:
    words = {"pl": "tak", "en": ""}
    assert [in_language(words, code) for code in ("pl", "en", "de")] == ["tak", "", ""]
    assert in_language("one", "de") == "one"
    assert [spoken_for(("pl", "de"), code) for code in ("de", "fr")] == ["de", "pl"]


def test_a_prompt_of_ones_own_has_a_fingerprint_of_its_own() -> None:
    labels = load_labels(None)
    shipped = shipped_prompt("bits")
    changed = shipped.model_copy(update={"bos": 0})
    parts = [fingerprint_part(each, shipped, labels) for each in (shipped, changed)]
    assert parts[0]["cue"] == "Answer:\n"
    assert parts[1] != parts[0]
    assert fingerprint_part(shipped, shipped_prompt("json"), labels)["file"] == shipped.content()
