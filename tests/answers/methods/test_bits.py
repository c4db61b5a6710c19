"""A bits answer: a digit for each label, one token each."""

from typing import Any

import numpy as np
import pytest

from medsent.answers.methods import bits
from medsent.answers.targets import STRUCTURE, UNKNOWN
from medsent.errors import ModelError


@pytest.mark.parametrize("count", [1, 5, 21, 60])
def test_written_digits(tokenizer: Any, count: int) -> None:
    gold = np.array([float(i % 2) for i in range(count)])
    gold[count // 2] = np.nan
    targets = bits.write(gold, tokenizer)
    given = [bool(i % 2) and i != count // 2 for i in range(count)]
    form = bits.sheet([f"l{i}" for i in range(count)])
    assert tokenizer.decode(targets.ids[:-1]) == form.write(given)
    of_label = [UNKNOWN if i == count // 2 else i for i in range(count)]
    assert targets.of_label == [*of_label, STRUCTURE]
    assert targets.ids[-1] == tokenizer.eos_token_id


def test_digits_are_tokens(tokenizer: Any) -> None:
    assert tokenizer.decode(list(bits.digit_token_ids(tokenizer))) == "01"


def test_a_tokenizer_that_joins_digits_is_refused() -> None:
    def joined(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [7] * (len(text) // 2)}

    with pytest.raises(ModelError, match="digits"):
        bits.digit_token_ids(joined)
