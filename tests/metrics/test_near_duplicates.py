"""Near-duplicates are one cluster; other opinions, and short texts, stand alone."""

import random

import pyarrow as pa

from medsent.input.texts import recognisable
from medsent.metrics.near_duplicates import grouped

WORDS = ["".join(random.Random(i).choices("aeiouklmnprst", k=3 + i % 7)) for i in range(800)]


def text(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=40))


def groups(*opinions: tuple[str, str | None]) -> set[frozenset[str]]:
    """Return the groups of opinions given as id and text, two a table."""
    tables = []
    for first in range(0, len(opinions), 2):
        ids, texts = zip(*opinions[first : first + 2], strict=True)
        known = recognisable(pa.array(texts, pa.string()))
        tables.append(pa.table({"opinion_id": pa.array(ids), "text": known}))
    return {frozenset(group) for group in grouped(tables)}


def changed(words: str, *places: int) -> str:
    """Return the text with other words at some places."""
    every = words.split()
    for place in places:
        every[place] = "xyz"
    return " ".join(every)


def test_a_copy_and_a_chain_of_changes_are_one() -> None:
    base = text(1)
    found = groups(
        ("a", base),
        ("copy", base.upper() + "!"),
        ("b", changed(base, 10)),
        ("c", changed(base, 10, 30)),
        ("other", text(2)),
    )
    assert found == {frozenset({"a", "copy", "b", "c"}), frozenset({"other"})}


def test_half_of_a_text_in_common_is_another_opinion() -> None:
    base = text(1)
    assert len(groups(("a", base), ("b", changed(base, *range(0, 40, 4))))) == 2


def test_texts_too_short_to_be_recognised_stand_alone() -> None:
    assert len(groups(("a", "Polecam!"), ("b", "Polecam!"), ("c", None))) == 3


def test_an_opinion_of_two_texts_joins_their_copies() -> None:
    found = groups(("a", text(1)), ("a", text(2)), ("b", text(1)), ("c", text(2)))
    assert found == {frozenset({"a", "b", "c"})}


def test_many_are_told_apart() -> None:
    """Of 300 texts and 100 with a word changed, almost all pairs are found and no other."""
    opinions = [(f"o{i}", text(i)) for i in range(300)]
    opinions += [(f"copy{i}", changed(text(i), i % 40)) for i in range(100)]
    found = groups(*opinions)
    pairs = {frozenset({f"o{i}", f"copy{i}"}) for i in range(100)}
    assert {group for group in found if len(group) > 1} <= pairs
    assert len(found & pairs) >= 95


def test_none_at_all() -> None:
    assert grouped([]) == []
