"""An answer file says what the JSON of an answer looks like, to the character."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medsent.answers.file import AnswerFile, load_answer, shipped_answer
from medsent.answers.json import JsonReader
from medsent.config.job import SamplingSettings
from medsent.engine.answer_form import Listing, Sheet
from medsent.errors import ConfigError

THREE = ("fear", "ból głowy", 'x "y"')
STYLES: dict[str, dict[str, Any]] = {
    "compact": {"separators": (",", ":")},
    "spaced": {},
    "indented": {"indent": 2},
}
VALUES = [(True, False), (False, True), (1, 0), (0, 1), ("tak", "nie"), ("Yes", "No"), (1, "-")]
NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True)


def written(folder: Path, text: str) -> Path:
    file = folder / "answer.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@given(
    names=NAMES,
    data=st.data(),
    style=st.sampled_from([*STYLES]),
    escaped=st.booleans(),
    values=st.sampled_from(VALUES),
    under=st.none() | st.text(min_size=1, max_size=8),
)
def test_an_object_is_what_json_dumps_writes(
    names: list[str],
    data: st.DataObject,
    style: Any,
    escaped: bool,
    values: tuple[Any, Any],
    under: str | None,
) -> None:
    yes, no = values
    answer = AnswerFile(yes=yes, no=no, style=style, ascii=escaped, under=under)
    given = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    said: Any = {name: yes if value else no for name, value in zip(names, given, strict=True)}
    whole = said if under is None else {under: said}
    text = answer.form_of(names).write(given)
    assert text == json.dumps(whole, ensure_ascii=escaped, **STYLES[style])
    reader = JsonReader(answer, names)
    assert reader.exact(text).given == reader.lenient(text).given == given


@given(
    names=NAMES,
    data=st.data(),
    style=st.sampled_from([*STYLES]),
    escaped=st.booleans(),
    under=st.none() | st.text(min_size=1, max_size=8),
)
def test_a_list_is_what_json_dumps_writes(
    names: list[str], data: st.DataObject, style: Any, escaped: bool, under: str | None
) -> None:
    answer = AnswerFile(form="list", style=style, ascii=escaped, under=under)
    given = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    said: Any = [name for name, value in zip(names, given, strict=True) if value]
    whole = said if under is None else {under: said}
    text = answer.form_of(names).write(given)
    assert text == json.dumps(whole, ensure_ascii=escaped, **STYLES[style])
    reader = JsonReader(answer, names)
    assert reader.exact(text).given == reader.lenient(text).given == given


def test_the_one_that_ships() -> None:
    answer = shipped_answer()
    assert answer == AnswerFile()
    assert answer.content() == {}
    assert answer.has_probabilities
    form = answer.form_of(("fear", "calm"))
    assert form == Sheet(('{"fear":', ',"calm":'), "}", "true", "false")
    assert form.write([True, False]) == '{"fear":true,"calm":false}'


def test_the_model_may_call_a_label_by_another_name() -> None:
    answer = AnswerFile(names={"fear": "strach"})
    assert answer.called(THREE) == ("strach", *THREE[1:])
    assert answer.form_of(("fear", "calm")).write([True, True]) == '{"strach":true,"calm":true}'
    swapped = AnswerFile(names={"fear": "calm", "calm": "fear"})
    assert JsonReader(swapped, ("fear", "calm")).exact('{"calm":true,"fear":false}').given == [
        True,
        False,
    ]
    listed = AnswerFile(form="list", names={"fear": "strach"}, under="etykiety")
    assert listed.form_of(("fear", "calm")) == Listing(
        '{"etykiety":[', ",", "]}", '{"etykiety":[]}', ('"strach"', '"calm"')
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"fright": "strach"}, "'fright' is no label of this job"),
        ({"fear": "calm"}, "two labels are called 'calm'"),
        ({"fear": "x", "calm": "x"}, "two labels are called 'x'"),
    ],
)
def test_names_are_of_the_job_s_labels_and_differ(names: dict[str, str], told: str) -> None:
    answer = AnswerFile(names=names)
    for made in (answer.form_of, lambda labels: JsonReader(answer, labels)):
        with pytest.raises(ConfigError, match=f"the answer file's names: {told}"):
            made(("fear", "calm"))


def test_words_of_yaml_stay_words(tmp_path: Path) -> None:
    answer = load_answer(written(tmp_path, "yes: yes\nno: no\nnames: {on: off}"))
    assert (answer.yes, answer.no, answer.names) == ("yes", "no", {"on": "off"})
    answer = load_answer(written(tmp_path, "yes: Yes\nno: No"))
    assert (answer.yes, answer.no) == ("Yes", "No")
    answer = load_answer(written(tmp_path, "yes: true\nno: false\nascii: true"))
    assert (answer.yes, answer.no, answer.ascii) == (True, False, True)
    answer = load_answer(written(tmp_path, "yes: 1\nno: 0"))
    assert (answer.written(answer.yes), answer.written(answer.no)) == ("1", "0")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("yes: true\nno: true", "yes and no are the same value"),
        ("yes: tak\nno: ' TAK'", "yes and no are the same value"),
        ("no: true", "yes and no are the same value"),
        ("yes: 0.5", "yes"),
        ("yes: null", "yes"),
        ("form: list\nyes: 1", "yes goes with form: object; a list names the labels given"),
        ("form: list\nno: 0", "no goes with form: object"),
        ("form: list\nomitted: no", "omitted goes with form: object"),
        ("form: table", "form"),
        ("under: ''", "under"),
        ("names: {fear: ''}", "names.fear"),
        ("style: pretty", "style"),
        ("guided: 7", "guided"),
        ("sampling: {temperature: -1}", "sampling.temperature"),
        ("sampling: {top_p: 0}", "sampling.top_p"),
        ("sampling: {max_tokens: 0}", "sampling.max_tokens"),
        ("sampling: {temperatur: 1}", "sampling.temperatur; did you mean temperature"),
        ("gided: true", "unknown setting gided; did you mean guided"),
        ("[object]", "must be a mapping"),
        ("form: [", "is not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_the_key(
    tmp_path: Path, text: str, told: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_answer(file)
    assert str(file) in str(caught.value)
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_answer(tmp_path / "absent.yaml")


@pytest.mark.parametrize("values", VALUES)
def test_what_it_says_is_read_back_and_told_apart(tmp_path: Path, values: tuple[Any, Any]) -> None:
    """1 and 0 are other values than true and false, which Python takes for the same."""
    answers = [
        AnswerFile(yes=values[0], no=values[1]),
        AnswerFile(yes=values[0], no=values[1], guided=False),
        AnswerFile(yes=values[0], no=values[1], names={"a": "b"}, under="x", ascii=True),
        AnswerFile(form="list", sampling=SamplingSettings(temperature=0.0, seed=3)),
    ]
    for answer in answers:
        file = written(tmp_path, yaml.safe_dump(answer.content()))
        again = load_answer(file)
        assert (again, again.digest()) == (answer, answer.digest())
        assert again.written([again.yes, again.no]) == answer.written([answer.yes, answer.no])
    assert len({answer.digest() for answer in answers}) == len({*answers}) == len(answers)


def test_every_pair_of_values_has_a_digest_of_its_own() -> None:
    digests = {AnswerFile(yes=yes, no=no).digest() for yes, no in VALUES}
    assert len(digests) == len(VALUES)


def test_a_job_says_otherwise() -> None:
    answer = AnswerFile(sampling=SamplingSettings(temperature=0.7, max_tokens=9))
    said = answer.with_settings(None, SamplingSettings())
    assert said == answer
    said = answer.with_settings(False, SamplingSettings(temperature=0.0, seed=5))
    assert not said.guided
    assert said.sampling == SamplingSettings(temperature=0.0, max_tokens=9, seed=5)
    assert AnswerFile(guided=False).with_settings(True, SamplingSettings()).guided


@pytest.mark.parametrize(
    ("answer", "has"),
    [
        (AnswerFile(), True),
        (AnswerFile(yes="tak", no="nie", under="x"), True),
        (AnswerFile(guided=False), False),
        (AnswerFile(form="list"), False),
    ],
)
def test_only_a_guided_object_has_probabilities(answer: AnswerFile, has: bool) -> None:
    assert answer.has_probabilities is has


def test_values_are_meant_by_any_case_of_a_word_and_by_no_other_kind() -> None:
    words = AnswerFile(yes="tak", no="nie")
    assert [words.meaning(said) for said in ("tak", " TAK\n", "Nie", "nic", "", True, 1)] == [
        True,
        True,
        False,
        None,
        None,
        None,
        None,
    ]
    digits = AnswerFile(yes=1, no=0)
    assert [digits.meaning(said) for said in (1, 0, True, False, 1.0, "1", None)] == [
        True,
        False,
        *[None] * 5,
    ]
    assert [AnswerFile().meaning(said) for said in (True, False, 1, 0, "true", None, [])] == [
        True,
        False,
        *[None] * 5,
    ]


@pytest.mark.parametrize("form", ["object", "list"])
def test_names_like_what_stands_for_a_value_are_names(form: Any) -> None:
    names = ("value", 'a "value" of', "value-", '"value":', "])}")
    answer = AnswerFile(form=form, under="the value")
    row = [True, False, True, True, False]
    said = dict(zip(names, row, strict=True))
    whole = {"the value": said if form == "object" else [name for name in names if said[name]]}
    assert answer.form_of(names).write(row) == json.dumps(
        whole, ensure_ascii=False, separators=(",", ":")
    )
