"""The readers that ship, and a file of one's own."""

from pathlib import Path

import pytest

from medsent.config.personas import load_personas
from medsent.errors import ConfigError


def test_sixteen_ship_in_both_languages() -> None:
    personas = load_personas(None)
    assert len(personas) == 16
    for name, persona in personas.items():
        assert persona.id == name
        assert set(persona.name) == set(persona.description) == {"en", "pl"}
    assert len({persona.describe("en") for persona in personas.values()}) == 16


def test_another_language_gets_english() -> None:
    surgeon = load_personas(None)["surgeon"]
    assert surgeon.describe("pl") != surgeon.describe("en")
    assert surgeon.describe("de") == surgeon.describe("en")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "readers.yaml"
    file.write_text(
        "- {id: me, name: {en: Me}, description: {en: a {braced} reader}}".replace(
            "a {braced} reader", "'a {braced} reader'"
        )
    )
    personas = load_personas(str(file))
    assert list(personas) == ["me"]
    assert personas["me"].describe("pl") == "a {braced} reader"


def test_an_id_that_yaml_takes_for_a_number_is_its_digits(tmp_path: Path) -> None:
    file = tmp_path / "readers.yaml"
    file.write_text("- {id: 17, name: {en: A}, description: {en: a}}\n")
    assert list(load_personas(str(file))) == ["17"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "valid list"),
        ("me: {}", "valid list"),
        ("- {id: me, name: {en: Me}}", "0, description: Field required"),
        ("- {id: me, name: {en: Me}, description: {pl: ja}}", "0, description: needs at least"),
        ("- {id: 0.5, name: {en: Me}, description: {en: me}}", "0, id: Input should be a valid"),
        ("- {id: yes, name: {en: Me}, description: {en: me}}", "0, id: Input should be a valid"),
        ("- {id: 5, name: {en: A, en: B}, description: {en: me}}", "line 1: en is given twice"),
        ("- {id: me, nom: a, name: {en: Me}, description: {en: me}}", "0, nom: Extra inputs"),
        ("- {id: me, name: {en: Me}, description: {en: me}}\n" * 2, "uses an id twice"),
        ("- [", "is not YAML: line"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "readers.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_personas(str(file))
    assert told in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the persona file .*gone\.yaml"):
        load_personas(str(tmp_path / "gone.yaml"))
