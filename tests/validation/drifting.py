"""Alarms of drift by chance: none but few on unchanged data, and most where a label has moved."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import pyarrow as pa

from medsent.commands.drift import Drift, DriftSettings, Seen, drifts
from medsent.config.labels import LABELS
from medsent.predictions import Outcome
from medsent.reducer.state import Scope
from tests.predicted import Answers, batch
from tests.validation.multilevel import Multilevel
from tests.validation.tally import Tallies, tallies

REFERENCE: Final = 1_500
MOVED: Final = 0.1

_VARIANT: Final = "baseline"
_QUARANTINED: Final = 0.01
_NEW_SAMPLES: Final = 10
"""So many are held against one reference."""


@dataclass(frozen=True)
class Fresh:
    """A run of so many new opinions, with so many records each."""

    opinions: int
    readers: int

    def __str__(self) -> str:
        return f"{self.opinions:,} x {self.readers}"


SIZES: Final = tuple(Fresh(n, readers) for readers in (1, 16) for n in (12, 20, 40, 80, 400))


def alarms(fresh: Fresh, seed: int) -> Tallies:
    """Hold ten runs of unchanged data against a reference, and ten of which a label has moved."""
    found = tallies()
    rng = np.random.default_rng([seed, fresh.opinions, fresh.readers])
    unchanged = Multilevel.of("equal")
    reference = _seen(unchanged, REFERENCE, fresh.readers, 0, rng)
    for number in range(1, _NEW_SAMPLES + 1):
        now = _seen(unchanged, fresh.opinions, fresh.readers, number * REFERENCE, rng)
        _count(found, "unchanged", fresh, _drifts(reference, now))
        _count(found, "unchanged, the other way round", fresh, _drifts(now, reference))
        label = int(rng.integers(len(LABELS)))
        moved = _seen(_moved(label), fresh.opinions, fresh.readers, number * REFERENCE, rng)
        alarmed = {each.name for each in _drifts(reference, moved) if each.alarm}
        found[f"moved @ {fresh}"].add(LABELS[label] in alarmed)
    for tally in found.values():
        tally.close()
    return found


def _count(found: Tallies, name: str, fresh: Fresh, seen: list[Drift]) -> None:
    alarmed = {each.kind for each in seen if each.alarm}
    found[f"{name} @ {fresh}"].add(bool(alarmed))
    for kind in ("label_rate", "population", "quarantined"):
        found[f"{name}, {kind} @ {fresh}"].add(kind in alarmed)


def _drifts(before: Seen, now: Seen) -> list[Drift]:
    return drifts(before, now, [_VARIANT], LABELS, DriftSettings())


@cache
def _moved(label: int) -> Multilevel:
    return Multilevel.of("equal").moved(label, MOVED)


def _seen(
    population: Multilevel, opinions: int, readers: int, first: int, rng: np.random.Generator
) -> Seen:
    """Return what a run of new opinions holds, whose ids are from `first` on."""
    found = Seen()
    rows = _rows(population, opinions, readers, first, rng)
    found.add(rows, Scope.of([_VARIANT], LABELS), range(len(LABELS)))
    return found


def _rows(
    population: Multilevel, opinions: int, readers: int, first: int, rng: np.random.Generator
) -> pa.RecordBatch:
    gold, given, opinion, reader = population.draw(opinions, readers, rng)
    lost = rng.random(len(gold)) < _QUARANTINED
    language = rng.choice(["pl", "en"], opinions, p=[0.7, 0.3])
    tokens = rng.negative_binomial(8, 0.05, opinions)
    columns = {
        "opinion_id": (first + opinion).astype(str).tolist(),
        "language": language[opinion].tolist(),
        "persona": reader.astype(str).tolist(),
        "outcome": np.where(lost, Outcome.QUARANTINED, Outcome.SCORED).tolist(),
        "reason": [None] * len(gold),
    }
    answers = {_VARIANT: Answers(given[0], prompt_tokens=tokens[opinion].tolist())}
    return batch(gold, answers, columns)
