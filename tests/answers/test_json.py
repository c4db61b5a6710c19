"""Reading JSON answers: guided ones to the letter, others wherever they stand in a text."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medsent.answers.file import AnswerFile
from medsent.answers.json import JsonReader, Reading
from medsent.predictions import AnswerStatus as Status

PAIR = ("fear", "joy")
OBJECT = AnswerFile()
ANSWERS = [
    AnswerFile(),
    AnswerFile(style="indented", under="answer"),
    AnswerFile(yes="tak", no="nie", omitted="no", ascii=True),
    AnswerFile(yes=1, no=0, style="spaced", names={"fear": "strach 😀"}),
    AnswerFile(form="list"),
    AnswerFile(form="list", under="labels", style="indented"),
]
PROSE = st.text(st.characters(exclude_characters="{}[]", exclude_categories=["Cs"]), max_size=40)
NOTES = st.sampled_from(["", " [1]", " [2, 3] ", ":[ so", " {sic} ", " [fear] ", "{ or", "[ or"])
ROWS = st.lists(st.booleans(), min_size=2, max_size=2)


def read(text: str, answer: AnswerFile = OBJECT, repair: bool = True) -> Reading:
    """Read what a model wrote freely, and check what holds of every reading."""
    reading = JsonReader(answer, PAIR).lenient(text, repair)
    assert (reading.given is None) != (reading.fault is None)
    assert not (reading.repaired and reading.given is None)
    return reading


# --- guided -------------------------------------------------------------------------------------

GOOD = '{"fear":true,"joy":false}'


@pytest.mark.parametrize("text", [GOOD, f" {GOOD}\n", '{"joy": false, "fear": true}'])
def test_a_guided_answer_is_read(text: str) -> None:
    assert JsonReader(OBJECT, PAIR).exact(text) == Reading([True, False])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Status.NO_JSON),
        (GOOD[:-1], Status.NO_JSON),
        (GOOD + "}", Status.NO_JSON),
        ("The answer: " + GOOD, Status.NO_JSON),
        (f"```json\n{GOOD}\n```", Status.NO_JSON),
        ("[" * 100_000, Status.NO_JSON),
        ("null", Status.VALUE_UNKNOWN),
        ("[]", Status.VALUE_UNKNOWN),
        ('{"fear":true,"joy":1}', Status.VALUE_UNKNOWN),
        ('{"fear":true,"joy":"true"}', Status.VALUE_UNKNOWN),
        ('{"fear":true,"joy":null}', Status.VALUE_UNKNOWN),
        ('{"fear":true,"joy":NaN}', Status.VALUE_UNKNOWN),
        ('{"fear":true,"joy":true,"joy":false}', Status.VALUE_UNKNOWN),
        ('{"fear":true}', Status.LABEL_MISSING),
        ('{"fear":true,"joy":true,"calm":true}', Status.LABEL_UNKNOWN),
    ],
)
def test_anything_else_is_no_guided_answer(text: str, fault: str) -> None:
    assert JsonReader(OBJECT, PAIR).exact(text) == Reading(fault=fault)


# --- what is around an answer -------------------------------------------------------------------


@pytest.mark.parametrize("answer", ANSWERS)
@given(
    row=ROWS,
    before=PROSE,
    note=NOTES,
    after=PROSE,
    end=NOTES,
    fence=st.sampled_from(["", "```", "```json\n", "~~~\n", "<answer>"]),
)
@example([True, False], "As source [1] says: ", "", "", " See [2].", "")
@example([False, False], "", "[ or", "and", "{ or", "```json\n")
def test_a_whole_answer_is_read_as_written_whatever_stands_around_it(
    answer: AnswerFile, row: list[bool], before: str, note: str, after: str, end: str, fence: str
) -> None:
    whole = answer.form_of(PAIR).write(row)
    text = f"{before}{note}{fence}{whole}\n{fence}{after}{end}"
    reading = read(text, answer)
    assert reading == Reading(row, None, repaired=False)
    assert read(text, answer, repair=False) == reading


@pytest.mark.parametrize("answer", ANSWERS)
@given(rows=st.lists(ROWS, min_size=2, max_size=4), between=PROSE)
def test_of_several_answers_the_first_one_counts(
    answer: AnswerFile, rows: list[list[bool]], between: str
) -> None:
    text = between.join(answer.form_of(PAIR).write(row) for row in rows)
    assert read(text, answer).given == rows[0]


@pytest.mark.parametrize(
    "after",
    [
        '{"confidence": {"fear": 0.9}}',
        '{"fear": 0.9, "joy": 0.1}',
        '{"fear": true}',
        '{"fear": true, "joy": true, "why": "a kind nurse"}',
        "{'fear': 0.9,}",
        '["fear"]',
        "[]",
    ],
)
def test_what_cannot_be_used_is_passed_over(after: str) -> None:
    assert read(f"Given {after}: {GOOD}") == Reading([True, False])


# --- broken -------------------------------------------------------------------------------------


def single_quotes(text: str) -> str:
    return text.replace('"', "'")


def trailing_comma(text: str) -> str:
    return f"{text[:-1]},{text[-1]}"


def python_values(text: str) -> str:
    return text.replace("true", "True").replace("false", "False") + "\n# done"


def curly_quotes(text: str) -> str:
    return "“".join(text.replace('":', "”:").split('"'))


def no_commas(text: str) -> str:
    return text.replace(",", " \n")


def no_quotes(text: str) -> str:
    return text.replace('"', "")


def a_comment(text: str) -> str:
    return text.replace(",", ", // and also\n", 1)


def not_closed(text: str) -> str:
    return text[:-1]


def closed_otherwise(text: str) -> str:
    return text[:-1] + ("]" if text[-1] == "}" else "}")


BREAKS: list[Callable[[str], str]] = [
    single_quotes,
    trailing_comma,
    python_values,
    curly_quotes,
    no_commas,
    no_quotes,
    a_comment,
    not_closed,
    closed_otherwise,
]


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize(
    "around", ["{}", "Source [1] says: {}", "```json\n{}\n```\nSo: [fear], I think.", ":[ so {} {{"]
)
@pytest.mark.parametrize("row", [[True, False], [False, True], [True, True]])
def test_a_broken_answer_is_mended_and_said_to_be(
    broken: Callable[[str], str], around: str, row: list[bool]
) -> None:
    text = broken(OBJECT.form_of(PAIR).write(row))
    wrapped = around.replace("{}", text)
    assert read(wrapped) == Reading(row, repaired=True)
    cut = read(wrapped, repair=False)
    assert (cut.given, cut.repaired) == (None, False)
    assert cut.fault == Status.NO_JSON


@pytest.mark.parametrize("broken", [single_quotes, trailing_comma, not_closed, closed_otherwise])
@pytest.mark.parametrize("row", [[True, False], [False, True], [True, True]])
@pytest.mark.parametrize("under", [None, "labels"])
def test_a_broken_list_is_mended(
    broken: Callable[[str], str], row: list[bool], under: str | None
) -> None:
    answer = AnswerFile(form="list", under=under)
    text = broken(answer.form_of(PAIR).write(row))
    assert read(f"[1] So: {text}", answer) == Reading(row, repaired=True)


def test_the_first_answer_counts_though_it_is_broken() -> None:
    broken = "{'fear': False, 'joy': True}"
    assert read(f"{broken}\nOpinion: ...\nAnswer: {GOOD}") == Reading([False, True], repaired=True)
    assert read(f"{GOOD}\nOpinion: ...\nAnswer: {broken}") == Reading([True, False])


@pytest.mark.parametrize("answer", [OBJECT, AnswerFile(omitted="no"), AnswerFile(form="list")])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "fear",
        "The opinion is one of fear: true, joy: false.",
        "Said [1], and again [2, 3]: fear.",
        "They shook with [fear] and {joy}.",
        "fear and joy [sic",
        "Sad :[ and sadder :{",
        "[",
        "{",
        "{{{{[[",
        "}]",
        "```json\n```",
        "[fear, joy]",
        "null",
        "true",
        '"fear"',
    ],
)
def test_prose_is_no_json_and_no_label_is_made_of_it(text: str, answer: AnswerFile) -> None:
    assert read(text, answer).fault == Status.NO_JSON


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (AnswerFile(form="list", under="labels"), '{"labels": ['),
        (AnswerFile(form="list", under="labels"), '{"labels": [}'),
        (AnswerFile(omitted="no", under="labels"), '{"labels": {'),
        (AnswerFile(omitted="no"), '{"'),
        (AnswerFile(form="list"), '["'),
    ],
)
def test_of_a_bracket_alone_no_answer_is_made(answer: AnswerFile, text: str) -> None:
    assert read(text, answer).given is None


def test_a_mended_answer_may_name_none_where_the_text_does() -> None:
    answer = AnswerFile(form="list", under="labels")
    assert read("{'labels': []}", answer) == Reading([False, False], repaired=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"example": {"fear": true, "joy": false}, "answer": "none of these}',
        '{"example": {"fear": true, "joy": false}, \'answer\': None}',
        '{"example": {"fear": true, "joy": false}, "answer": ',
        '{"example": {"fear": true, "joy": false}}',
        '[{"fear": true, "joy": false}, {"fear": false, "joy": false}]',
        '[{"fear": true, "joy": false}, {"fear": false, ',
        "[{'fear': true, 'joy': false}]",
    ],
)
@pytest.mark.parametrize("repair", [True, False])
def test_an_object_within_another_is_not_the_answer(text: str, repair: bool) -> None:
    assert read(text, repair=repair).given is None


@pytest.mark.parametrize("broken", [str, trailing_comma, single_quotes, no_commas])
def test_what_is_said_twice_is_not_said(broken: Callable[[str], str]) -> None:
    text = broken('{"fear": true, "joy": false, "fear": false}')
    assert read(text) == Reading(fault=Status.VALUE_UNKNOWN)
    assert read(text, AnswerFile(omitted="no")) == Reading(fault=Status.VALUE_UNKNOWN)


def test_a_key_that_ends_like_another_is_another() -> None:
    reader = JsonReader(OBJECT, ("fear", "no fear"))
    assert reader.lenient("{'no fear': false, 'fear': true}").given == [True, False]
    assert reader.lenient("{\n 'no fear': false\n 'fear': true}").given == [True, False]


# --- why not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "text", "fault"),
    [
        (OBJECT, '{"fear": true}', Status.LABEL_MISSING),
        (OBJECT, "{}", Status.LABEL_MISSING),
        (OBJECT, "{'fear': true}", Status.LABEL_MISSING),
        (OBJECT, '{"fear": true, "joy": false, "why": "x"}', Status.LABEL_UNKNOWN),
        (OBJECT, '{"fears": true, "joy": false}', Status.LABEL_UNKNOWN),
        (OBJECT, '{"fear": true, "joy": null}', Status.VALUE_UNKNOWN),
        (OBJECT, '{"fear": true, "joy": NaN}', Status.VALUE_UNKNOWN),
        (OBJECT, '{"fear": true, "joy": 0}', Status.VALUE_UNKNOWN),
        (OBJECT, "{'fear': True, 'joy': None}", Status.VALUE_UNKNOWN),
        (OBJECT, '{"fear": true, "joy": fals}', Status.VALUE_UNKNOWN),
        (OBJECT, '{"fear": true, "joy": }', Status.VALUE_UNKNOWN),
        (OBJECT, '{"fear": {"fear": true}, "joy": false}', Status.VALUE_UNKNOWN),
        (OBJECT, '["fear"]', Status.VALUE_UNKNOWN),
        (OBJECT, '{"fear": true} as in ["fear"]', Status.LABEL_MISSING),
        (OBJECT, "[" * 3000, Status.NO_JSON),
        (OBJECT, '{"fear":' * 3000, Status.NO_JSON),
        (OBJECT, '["' * 30_000, Status.NO_JSON),
        (AnswerFile(under="answer"), GOOD, Status.LABEL_MISSING),
        (
            AnswerFile(under="answer"),
            f'{{"answer": {GOOD}, "answer": {GOOD}}}',
            Status.VALUE_UNKNOWN,
        ),
        (AnswerFile(under="answer"), '{"answer": true}', Status.VALUE_UNKNOWN),
        (AnswerFile(under="answer"), '{"answer": {"fear": true}}', Status.LABEL_MISSING),
        (AnswerFile(omitted="no"), '{"calm": true}', Status.LABEL_UNKNOWN),
        (AnswerFile(form="list"), '["fear", "calm"]', Status.LABEL_UNKNOWN),
        (AnswerFile(form="list"), '["fear", 1]', Status.VALUE_UNKNOWN),
        (AnswerFile(form="list"), '[["fear"]]', Status.VALUE_UNKNOWN),
        (AnswerFile(form="list"), GOOD, Status.VALUE_UNKNOWN),
        (AnswerFile(form="list", under="labels"), '["fear"]', Status.LABEL_MISSING),
        (AnswerFile(form="list", under="labels"), '{"labels": "fear"}', Status.VALUE_UNKNOWN),
        (
            AnswerFile(yes="tak", no="nie"),
            '{"fear": "tak", "joy": "moze"}',
            Status.VALUE_UNKNOWN,
        ),
        (AnswerFile(yes=1, no=0), GOOD, Status.VALUE_UNKNOWN),
    ],
)
def test_the_reason_is_one(answer: AnswerFile, text: str, fault: str) -> None:
    assert read(text, answer) == Reading(fault=fault)


@pytest.mark.parametrize(
    ("answer", "text", "row"),
    [
        (AnswerFile(yes="tak", no="nie"), '{"fear": "TAK", "joy": " Nie "}', [True, False]),
        (AnswerFile(yes="tak", no="nie"), "{fear: Tak, joy: NIE}", [True, False]),
        (AnswerFile(omitted="no"), '{"joy": true}', [False, True]),
        (AnswerFile(omitted="no"), "{}", [False, False]),
        (AnswerFile(form="list"), "[]", [False, False]),
        (AnswerFile(form="list"), '["joy", "joy"]', [False, True]),
        (AnswerFile(under="answer"), f'{{"why": "so", "answer": {GOOD}}}', [True, False]),
        (AnswerFile(form="list", under="labels"), '{"labels": ["joy"], "n": [1]}', [False, True]),
    ],
)
def test_what_an_answer_file_allows_is_read(answer: AnswerFile, text: str, row: list[bool]) -> None:
    assert read(text, answer).given == row


PARTS = st.sampled_from(
    [
        *("{", "}", "[", "]", '"', ":", ",", "'", "\\", "`", "/*", "*/", "#", "(", "“", "”", "\n"),
        *("```", "```json\n", "//", "\\u12", "\x00", "ż", "😀", "fear", "answer", "labels", " "),
        *('"fear"', "'joy'", '"fear":true', "'joy': false", '{"labels": [', '{"answer": ', GOOD),
        *("true", "False", "null", "NaN", "-1", "0.5e", ", "),
    ]
)


@pytest.mark.parametrize("answer", ANSWERS)
@given(parts=st.lists(PARTS, max_size=40), repair=st.booleans())
def test_no_text_is_too_strange(answer: AnswerFile, parts: list[str], repair: bool) -> None:
    reading = read("".join(parts), answer, repair)
    assert repair or not reading.repaired
    JsonReader(answer, PAIR).exact("".join(parts))


@given(st.text(), st.sampled_from(ANSWERS))
def test_text_that_names_no_label_says_none(text: str, answer: AnswerFile) -> None:
    reading = read(text, answer)
    assert reading.given in (None, [False, False])


# --- probabilities -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ['{"Fear": "true", "joy": false}', '{"fear ": true, "JOY": "False"}']
)
def test_case_and_quotation_marks_say_nothing_in_a_free_answer(text: str) -> None:
    assert read(text) == Reading([True, False])
    assert JsonReader(OBJECT, PAIR).exact(text).given is None


def test_empty_brackets_of_prose_are_an_answer_only_where_no_other_is() -> None:
    answer = AnswerFile(form="list")
    assert read('The list [ ] is empty, or not: ["joy"]', answer) == Reading([False, True])
    assert read("Nothing of it: []", answer) == Reading([False, False])
    assert read('[]\nOpinion: ...\nAnswer: ["joy"]', answer) == Reading([False, False])
