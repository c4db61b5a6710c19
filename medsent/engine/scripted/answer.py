"""What the scripted engine answers: made of chances, numbers in (0, 1), the same each time.

An answer that need not keep to its form is in one of sixteen cases each

- words without any JSON,
- without its last label, where it is a sheet,
- with a name that is no label's,
- cut off in the middle, as at `max_tokens`,
- broken, with a comma too many,
- whole, in a code block with words around it,

and otherwise what it would be under a grammar.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medsent.engine.answer_form import Form, Listing, Sheet
from medsent.engine.protocol import Ask

_CASES: Final = 16
_PROSE: Final = "The opinion says much, and I would rather not answer in a few words."


@dataclass(frozen=True)
class ScriptedAnswer:
    """An answer's text in pieces, the logprobs of each, and whether it was cut off."""

    pieces: list[str]
    logprobs: list[dict[int, float]]
    truncated: bool = False


def chances_for(ask: Ask) -> int:
    """Return how many chances an answer is made of.

    One for each label, or for each of `token_ids` where no answer is written. An answer that need
    not keep to its form has one more, which decides what is wrong with it.
    """
    if ask.form is None:
        return len(ask.token_ids)
    return _size(ask.form) + (not ask.guided)


def make_answer(ask: Ask, chances: list[float]) -> ScriptedAnswer:
    """Return the answer that these chances make; a sheet's texts and values are a piece each."""
    form = ask.form
    if form is None:
        step = dict(zip(ask.token_ids, map(math.log, chances), strict=True))
        return ScriptedAnswer([""], [step])
    of_label = chances[: _size(form)]
    given = [chance > 0.5 for chance in of_label]
    if not ask.guided:
        return _freely(form, given, int(chances[-1] * _CASES))
    if not isinstance(form, Sheet):
        return ScriptedAnswer([form.write(given)], [{}])
    steps: list[dict[int, float]] = []
    for (yes, no), chance in zip(ask.choices or [(0, 1)] * len(given), of_label, strict=True):
        steps += [{}, {yes: math.log(chance), no: math.log(1 - chance)}]
    made = zip(form.pieces(given), [*steps, {}], strict=True)
    pieces, logprobs = zip(*(each for each in made if each[0]), strict=True)
    return ScriptedAnswer(list(pieces), list(logprobs))


def _size(form: Form) -> int:
    return len(form.before) if isinstance(form, Sheet) else len(form.names)


def _freely(form: Form, given: Sequence[bool], case: int) -> ScriptedAnswer:
    whole = form.write(given)
    texts = {
        0: _PROSE,
        1: _without_last(form, given),
        2: _with_unknown(form, given),
        3: whole[: len(whole) // 2],
        4: f"{whole[:-1]},{whole[-1]}" if any(given) or isinstance(form, Sheet) else whole,
        5: f"Here it is:\n```json\n{whole}\n```\nThat is all I can say.",
    }
    return ScriptedAnswer([texts.get(case, whole)], [{}], truncated=case == 3)


def _without_last(form: Form, given: Sequence[bool]) -> str:
    if isinstance(form, Listing):
        return form.write(given)
    *others, _, _, after = form.pieces(given)
    return "".join(others) + after if others else "{}"


def _with_unknown(form: Form, given: Sequence[bool]) -> str:
    """Return the answer with another name in the place of the last label's."""
    if isinstance(form, Listing):
        return f"{form.before}{_other_name(form.names[-1])}{form.after}"
    pieces = form.pieces(given)
    pieces[-3] = _other_name(pieces[-3])
    return "".join(pieces)


def _other_name(written: str) -> str:
    name, quote, rest = written.rpartition('"')
    return f"{name} or so{quote}{rest}"
