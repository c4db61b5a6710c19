"""`make bench-prompts`: prompts made a second, against whole prompts tokenised in one call.

The other side is the tokenizer at its best: it is handed each prompt's whole text, ready made,
and all of them at once. Both take turns on the same records, for each prompt that ships, with 16
readers an opinion and with one. Figures are medians of the rounds. It takes under a minute.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from medsent.config.methods import known_methods
from medsent.console import printing
from medsent.demo.data import Split, shard_table
from medsent.models.source import load_tokenizer, prepare_builtin
from medsent.prompts.prompter import Prompter, Record
from tests.asked import shipped_prompter
from tests.bench.timing import median, median_ratio

READERS: Final = (16, 1)
RECORDS: Final = 1024
_SEED: Final = 11

Make = Callable[[], list[list[int]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each prompt and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.prompts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    with printing():
        tokenizer = load_tokenizer(prepare_builtin())
    print(f"Prompts a second, {RECORDS:,} records, medians of {rounds} rounds\n")
    print("| prompt | readers an opinion | medsent | whole prompts in one call | ratio |")
    print("|---|--:|--:|--:|--:|")
    for name in known_methods():
        prompter = shipped_prompter(tokenizer, name)
        for readers in READERS:
            ours, whole = _rates(prompter, tokenizer, _records(readers), rounds)
            print(
                f"| {name} | {readers} | {median(ours):,.0f} | {median(whole):,.0f} | "
                f"{median_ratio(ours, whole):.2f} |",
                flush=True,
            )
    return 0


def _records(readers: int) -> list[Record]:
    split = Split(opinions=RECORDS // readers, readers=readers, shards=1, seed=_SEED)
    rows: list[dict[str, Any]] = shard_table("bench", split, 0).to_pylist()
    return [(row["text"], row["language"], row["persona"]) for row in rows]


def _rates(
    prompter: Prompter, tokenizer: Any, records: Sequence[Record], rounds: int
) -> tuple[list[float], list[float]]:
    """Return each round's prompts a second, ours and the tokenizer's, once they agree."""
    texts = [prompter.text(*record) for record in records]
    start = [tokenizer.bos_token_id]

    def whole() -> list[list[int]]:
        made = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [start + each.ids for each in made]

    def ours() -> list[list[int]]:
        return prompter.prompts(records)

    if ours() != whole():
        raise ValueError("the two make different prompts")
    times: dict[Make, list[float]] = {ours: [], whole: []}
    for number in range(rounds):
        for make in (ours, whole) if number % 2 else (whole, ours):
            times[make].append(_seconds(make))
    mine, theirs = ([len(records) / each for each in times[make]] for make in (ours, whole))
    return mine, theirs


def _seconds(make: Make) -> float:
    started = time.perf_counter()
    make()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
