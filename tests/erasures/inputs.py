"""Opinions whose ids and texts bear marks, so that what is left of one is found by grep."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.labels import LABELS

_PERSONAS = ("emergency_nurse", "surgeon")


def marks(number: int) -> tuple[str, str]:
    """Return the id of an opinion, and the word that stands in its text alone."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return f"patient-{digest[:12]}", f"said{digest[12:24]}"


def write_test_set(file: Path, numbers: Sequence[int]) -> None:
    """Write a shard of opinions with gold, each read by two readers."""
    _write(
        file,
        [
            {
                **_opinion(number),
                "record_id": f"{marks(number)[0]}-{reader}",
                "persona": persona,
                "labels": [LABELS[(number + reader) % 5], LABELS[(number * 7) % 21]],
            }
            for number in numbers
            for reader, persona in enumerate(_PERSONAS)
        ],
    )


def write_backlog(file: Path, numbers: Sequence[int]) -> None:
    """Write a shard of opinions that nobody labelled, a row each."""
    _write(file, [{**_opinion(n), "record_id": f"{marks(n)[0]}-r"} for n in numbers])


def _opinion(number: int) -> dict[str, str]:
    name, word = marks(number)
    return {
        "opinion_id": name,
        "text": f"the doctor was kind, {word}" + " and I waited" * (number % 4),
        "language": "pl" if number % 3 else "en",
    }


def _write(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
