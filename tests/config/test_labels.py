"""A label file: any number of labels, each with a name, a description and a word."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medsent.answers.methods.onepass import label_token_ids
from medsent.config.labels import LABELS, Label, Labels, load_labels
from medsent.errors import ConfigError, ModelError

POLISH = ("ból", "ulga", "złość na lekarza", "x.y", "1 / 2")


def written(folder: Path, content: Any) -> str:
    file = folder / "my-labels.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    return str(file)


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


def test_the_ones_that_ship() -> None:
    labels = load_labels(None)
    assert labels.names == LABELS == labels.words
    assert len(labels) == 21
    described = {label.name: label.describe("pl") for label in labels.all if label.description}
    assert set(described) == {"more", "offensive", "funny"}


@pytest.mark.parametrize("names", [("only",), POLISH, tuple(f"label {i}" for i in range(60))])
def test_a_file_may_have_any_number(tmp_path: Path, names: tuple[str, ...]) -> None:
    labels = load_labels(written(tmp_path, named(*names)))
    assert labels.names == names
    assert len(labels) == len(names)


def test_words_of_yaml_are_names(tmp_path: Path) -> None:
    labels = load_labels(written(tmp_path, "- name: no\n- {name: yes, word: on}\n- name: Off"))
    assert labels.names == ("no", "yes", "Off")
    assert labels.words == ("no", "on", "Off")


def test_what_a_label_means_is_said_in_the_language_asked_for() -> None:
    label = Label(name="ból", description={"en": "pain", "pl": "boli"})
    assert [label.describe(language) for language in ("pl", "en", "de")] == ["boli", "pain", "pain"]
    assert Label(name="ból", description={"pl": "boli"}).describe("en") == "boli"
    assert Label(name="ból").describe("pl") == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "names no label"),
        (named("a", "b", "a"), "names 'a' twice"),
        (named("a", "text"), "'text' is a column of ours; rename it"),
        (named("a", "labels"), "'labels' is a column of ours"),
        ([{"name": "a"}, {"nam": "b"}], ", 1, nam"),
        ([{"name": "a"}, {"word": "b"}], ", 1, name"),
        ([{"name": ""}], ", 0, name"),
        ([{"name": " "}], ", 0, name"),
        ([{"name": "two\nlines"}], ", 0, name"),
        ([{"name": 5}], ", 0, name"),
        ([{"name": "a", "word": ""}], ", 0, word"),
        ([{"name": "a", "description": "pain"}], ", 0, description"),
        ("a: b", "my-labels.yaml"),
        ("a, b", "my-labels.yaml"),
        ("[", "is not YAML"),
        ("", "my-labels.yaml"),
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_the_entry(
    tmp_path: Path, content: Any, told: str
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load_labels(file)
    assert file in str(caught.value)
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_labels(str(tmp_path / "absent.yaml"))


# --- in the method that reads them off a token ------------------------------------------------


def of(*labels: tuple[str, str | None]) -> Labels:
    return Labels(tuple(Label(name=name, word=word) for name, word in labels))


def test_a_label_is_read_by_its_word(tokenizer: Any) -> None:
    labels = of(("ból", "pain"), ("calm", None), ("złość na lekarza", "anger"))
    assert labels.words == ("pain", "calm", "anger")
    ids = label_token_ids(tokenizer, labels)
    assert [tokenizer.decode([token]) for token in ids] == [" pain", " calm", " anger", " none"]


def test_labels_that_begin_with_the_same_token_are_named(tokenizer: Any) -> None:
    labels = of(
        ("label one", None), ("label two", None), ("calm", None), ("fury", "anger"), ("anger", None)
    )
    with pytest.raises(ModelError) as caught:
        label_token_ids(tokenizer, labels)
    told = str(caught.value)
    assert "label one and label two; fury ('anger') and anger" in told
    assert "calm" not in told
    assert "another `word` in the label file" in told
    assert "bits or json" in told


def test_a_label_that_begins_like_none_is_named(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="none of these and none"):
        label_token_ids(tokenizer, of(("none of these", None), ("calm", None)))


def test_one_label_is_told_from_none(tokenizer: Any) -> None:
    assert len(set(label_token_ids(tokenizer, of(("only", None))))) == 2
