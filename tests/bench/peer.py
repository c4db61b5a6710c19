"""The job and `ray.data.llm` alone, in turn: a part of the bench that takes minutes."""

import time
from pathlib import Path
from typing import Any

from tests.bench import figures, machine
from tests.bench.rounds import Contenders


def compare(folder: Path, model: Path, rounds: int) -> dict[str, Any]:
    """Let both answer so many times; return what `bench.json` would hold of them."""
    began, described = time.monotonic(), machine.describe()
    contenders = Contenders(folder, model)
    found = []
    for number in range(rounds):
        print(f"Round {number + 1} of {rounds}", flush=True)
        found.append(contenders.against_peer())
    return {
        "machine": described,
        "rounds": rounds,
        "minutes": (time.monotonic() - began) / 60,
        "goals": figures.told(figures.peer_goals(found)),
        "rates": figures.peer_rates(found),
    }
