"""What is learnt of a JSON answer: its tokens, and the label that each decides."""

import json
from typing import Any

import pytest

from medsent.answers.file import AnswerFile
from medsent.answers.json import JsonReader, write
from medsent.answers.targets import STRUCTURE, UNKNOWN
from medsent.config.labels import LABELS

OBJECT = AnswerFile()


def decided(targets: Any, tokenizer: Any) -> dict[int, str]:
    found: dict[int, str] = {}
    for token, label in zip(targets.ids, targets.of_label, strict=True):
        if label >= 0:
            found[label] = found.get(label, "") + tokenizer.decode([token])
    return found


@pytest.mark.parametrize("style", ["compact", "spaced", "indented"])
def test_each_value_is_one_token_of_its_label(tokenizer: Any, style: Any) -> None:
    answer = AnswerFile(style=style)
    gold = [float(i % 2) for i in range(len(LABELS))]
    targets = write(gold, answer.form_of(LABELS), tokenizer)
    values = {i: text.strip() for i, text in decided(targets, tokenizer).items()}
    assert values == {i: "true" if i % 2 else "false" for i in range(len(LABELS))}
    assert sum(label >= 0 for label in targets.of_label) == len(LABELS)
    assert targets.ids[-1] == tokenizer.eos_token_id
    assert targets.of_label[-1] == STRUCTURE
    text = tokenizer.decode(targets.ids[:-1])
    assert JsonReader(answer, LABELS).exact(text).given == [i % 2 == 1 for i in range(21)]


def test_a_missing_label_is_marked(tokenizer: Any) -> None:
    gold = [1.0] * len(LABELS)
    gold[3] = float("nan")
    targets = write(gold, OBJECT.form_of(LABELS), tokenizer)
    assert targets.of_label.count(UNKNOWN) == 1
    assert 3 not in targets.of_label
    at = targets.of_label.index(UNKNOWN)
    assert tokenizer.decode([targets.ids[at]]) == "false"


def test_the_names_of_a_list_are_of_their_labels(tokenizer: Any) -> None:
    answer = AnswerFile(form="list", under="labels", names={"ironic": "ironia (gorzka)"})
    gold = [float(label in ("calm", "ironic", "funny")) for label in LABELS]
    targets = write(gold, answer.form_of(LABELS), tokenizer)
    assert json.loads(tokenizer.decode(targets.ids[:-1])) == {
        "labels": ["calm", "ironia (gorzka)", "funny"]
    }
    named = {LABELS[i]: text.strip(' ",:[]}') for i, text in decided(targets, tokenizer).items()}
    assert named == {"calm": "calm", "ironic": "ironia (gorzka)", "funny": "funny"}
