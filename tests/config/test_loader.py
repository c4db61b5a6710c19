"""Reading a settings file: what is wrong is told in one line that names the setting."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.nightly.settings import NightlyConfig
from medsent.config.job import JobConfig
from medsent.config.loader import Settings, fitting, load_settings, read_yaml, yaml_text
from medsent.errors import ConfigError


class Cat(Settings):
    kind: Literal["cat"] = "cat"
    whiskers: int = 0


class Dog(Settings):
    kind: Literal["dog"]
    bark_db: float = Field(0.0, ge=0)


class Home(Settings):
    name: str
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    rooms: dict[str, Dog] = Field(default_factory=dict)
    guests: list[Cat] = Field(default_factory=list)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home.yaml"


def refused(file: Path, text: str, *overrides: str) -> str:
    """Return the message about a file that holds `text`."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(Home, file, list(overrides))
    message = str(caught.value)
    assert str(file) in message or message.startswith("--set")
    assert "\n" not in message
    return message


def test_values_and_defaults(file: Path) -> None:
    file.write_text("name: żółw\npet: {kind: dog, bark_db: 3}\n", encoding="utf-8")
    assert load_settings(Home, file) == Home(name="żółw", pet=Dog(kind="dog", bark_db=3.0))


def test_overrides_are_yaml_and_make_groups(file: Path) -> None:
    file.write_text("name: a\n")
    overrides = ["name=null and void", "rooms.attic.kind=dog", "rooms.attic.bark_db=1.5"]
    home = load_settings(Home, file, [*overrides, "guests=[{whiskers: 3}]"])
    assert home.name == "null and void"
    assert home.rooms == {"attic": Dog(kind="dog", bark_db=1.5)}
    assert home.guests == [Cat(whiskers=3)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nnmae: b", "unknown setting nmae; did you mean name?"),
        ("name: a\nzzz: b", "unknown setting zzz; known are name, pet, rooms, guests"),
        ("pet: {kind: cat}", "the setting name is missing"),
        ("name: 3", "name: Input should be a valid string"),
        (
            "name: a\npet: {kind: dog, bark: 1}",
            "unknown setting pet.bark; did you mean bark_db?",
        ),
        (
            "name: a\npet: {kind: cat, wiskers: 1}",
            "unknown setting pet.wiskers; did you mean whiskers?",
        ),
        ("name: a\npet: {kind: cat, whiskers: many}", "pet.whiskers: Input should be a valid int"),
        ("name: a\npet: {kind: cow}", "'cat', 'dog'"),
        (
            "name: a\nrooms: {attic: {kind: dog, bark_dB: 1}}",
            "unknown setting rooms.attic.bark_dB; did you mean bark_db?",
        ),
        ("name: a\nrooms: {attic: {}}", "the setting rooms.attic.kind is missing"),
        (
            "name: a\nguests: [{}, {whisker: 1}]",
            "unknown setting guests.1.whisker; did you mean whiskers?",
        ),
    ],
)
def test_a_wrong_setting_is_named(file: Path, text: str, told: str) -> None:
    assert told in refused(file, text)


def test_every_wrong_setting_is_named(file: Path) -> None:
    message = refused(file, "pett: 1\nroomz: 2")
    assert "did you mean pet?" in message
    assert "did you mean rooms?" in message
    assert "the setting name is missing" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be a mapping"),
        ("- a\n- b", "must be a mapping"),
        ("name: [a\nb: c: d", "is not YAML: line 2"),
        ("name: \t!!python/object:os.system a", "is not YAML"),
    ],
)
def test_a_file_that_is_no_mapping(file: Path, text: str, told: str) -> None:
    assert told in refused(file, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: żółw".encode("iso-8859-2"))
    for name, told in (("gone.yaml", "No such file"), ("", "directory"), ("latin.yaml", "UTF-8")):
        with pytest.raises(ConfigError, match=told) as caught:
            load_settings(Home, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("name", "write it as key.sub=value"),
        ("=3", "write it as key.sub=value"),
        ("name=[", "--set name: the value is not YAML"),
        ("name.first=a", "--set name.first: name is not a group of settings"),
    ],
)
def test_a_wrong_override_is_named(file: Path, override: str, told: str) -> None:
    assert told in refused(file, "name: a", override)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Home(name="a").name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        ("demo.yaml", JobConfig),
        ("evaluate.yaml", JobConfig),
        ("nightly.yaml", NightlyConfig),
        ("backfill.yaml", BackfillConfig),
    ],
)
def test_a_shipped_job_is_read_as_what_it_is(job: str, kind: type[JobConfig]) -> None:
    file = Path("jobs") / job
    assert fitting([JobConfig, NightlyConfig, BackfillConfig], file) is kind
    assert load_settings(kind, file).name == file.stem.replace("evaluate", "evaluation")


WORDS = [
    "yes",
    "no",
    "on",
    "off",
    "true",
    "null",
    "~",
    "1e3",
    "2020-01-01",
    "{opinion}",
    "żal",
    "🤕",
]
SIGNS = ["\n", "\r", "\t", " ", "#", "\x85", "\u2028", "\ufeff", ": ", "- ", "|", "'", '"']
TRICKY = st.sampled_from([*WORDS, *SIGNS])
WORDING = st.lists(TRICKY | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)).map(
    "".join
)
MAPPING = st.dictionaries(WORDING, WORDING, max_size=3)


@given(st.dictionaries(WORDING, st.booleans() | WORDING | MAPPING | st.lists(MAPPING, max_size=3)))
def test_what_is_written_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_text(yaml_text(content), encoding="utf-8")
    for words in (True, False):
        assert read_yaml(file, "the file", words) == content


def test_texts_of_several_lines_are_written_as_such() -> None:
    assert yaml_text({"content": "One.\nZażółć: {labels}\n"}) == (
        "content: |\n  One.\n  Zażółć: {labels}\n"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\npet: {kind: dog}\nname: b", "line 3: name is given twice, first in line 1"),
        ("name: a\nrooms:\n  x: {kind: dog}\n  x: {kind: dog}", "line 4: x is given twice"),
        ("name: a\npet: {kind: dog, 'kind': cat}", "line 2: kind is given twice, first in line 2"),
        ("name: a\nguests:\n- {whiskers: 1,\n   whiskers: 2}", "line 4: whiskers is given twice"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(file: Path, text: str, told: str) -> None:
    assert told in refused(file, text)
    with pytest.raises(ConfigError, match="is given twice"):
        read_yaml(file, "it", words=True)


def test_an_override_that_gives_a_key_twice_is_refused(file: Path) -> None:
    assert "--set pet: kind is given twice" in refused(
        file, "name: a", "pet={kind: cat, kind: dog}"
    )


def test_what_is_merged_in_may_be_overridden(file: Path) -> None:
    file.write_text(
        "name: a\nrooms:\n  x: &x {kind: dog, bark_db: 1}\n  y: {<<: *x, bark_db: 2}\n"
        "  z: {<<: *x, bark_db: 3}\n"
    )
    rooms = load_settings(Home, file).rooms
    assert [room.bark_db for room in rooms.values()] == [1.0, 2.0, 3.0]
