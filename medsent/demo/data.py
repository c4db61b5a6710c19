"""The synthetic demo data as Parquet shards: train, validation, test and held-out phrases.

Everything here is made up by a seeded program; no line comes from a patient.
"""

import datetime
import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.labels import LABELS
from medsent.demo.opinions import OpinionWriter
from medsent.demo.process import LabelProcess

LANGUAGES = ("pl", "en")
_FIRST_DAY = datetime.date(2026, 1, 1)

SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("opinion_id", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("persona", pa.string()),
        ("date", pa.date32()),
        ("labels", pa.struct([(label, pa.int8()) for label in LABELS])),
        # True probabilities of the process: known only because the data are synthetic.
        ("truth", pa.struct([(label, pa.float32()) for label in LABELS])),
    ]
)


@dataclass(frozen=True)
class Split:
    """How many opinions, each read by how many readers, over how many shards."""

    opinions: int
    readers: int
    shards: int
    seed: int
    held_out: bool = False


SPLITS = {
    "train": Split(opinions=24_000, readers=8, shards=12, seed=1),
    "validation": Split(opinions=800, readers=4, shards=2, seed=2),
    "test": Split(opinions=1_200, readers=4, shards=6, seed=3),
    "heldout": Split(opinions=400, readers=4, shards=2, seed=4, held_out=True),
}


def write_split(name: str, folder: Path) -> Path:
    """Write one split under `folder/name` unless it is there; return that folder.

    The folder is renamed into place when whole, so a killed call leaves no half split.
    """
    target = folder / name
    if target.is_dir():
        return target
    split = SPLITS[name]
    work = folder / f".{name}.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for shard in range(split.shards):
        table = shard_table(name, split, shard)
        pq.write_table(table, work / f"part-{shard:05d}.parquet", row_group_size=2_000)
    work.rename(target)
    return target


def content_digest(folder: Path) -> str:
    """Return a short sha256 over the shards' bytes, for provenance."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def persona_truth(split: Split, shard: int) -> npt.NDArray[np.float64]:
    """Return the true probabilities of all readers, (opinions, personas, 21), of one shard.

    The shard itself holds only those of the readers drawn for each opinion.
    """
    process = LabelProcess()
    return process.probabilities(
        _strengths(process, split, np.random.default_rng([split.seed, shard]))
    )


def shard_table(name: str, split: Split, shard: int) -> pa.Table:
    """Return one shard of a split: the same rows each time, `SCHEMA` their columns."""
    rng = np.random.default_rng([split.seed, shard])
    process = LabelProcess()
    writers = {
        language: OpinionWriter(language, process.cues, split.held_out) for language in LANGUAGES
    }
    strengths = _strengths(process, split, rng)
    count = len(strengths)
    probabilities = process.probabilities(strengths)
    rows = []
    for index in range(count):
        language = LANGUAGES[rng.integers(2)]
        opinion_id = f"{name}-{shard * count + index:06d}"
        text = writers[language].write(strengths[index], rng)
        date = _FIRST_DAY + datetime.timedelta(days=int(rng.integers(300)))
        for reader in rng.choice(len(process.personas), size=split.readers, replace=False):
            truth = probabilities[index, reader]
            persona = process.personas[reader]
            rows.append(
                {
                    "record_id": f"{opinion_id}-{persona}",
                    "opinion_id": opinion_id,
                    "text": text,
                    "language": language,
                    "persona": persona,
                    "date": date,
                    "labels": dict(
                        zip(
                            LABELS,
                            (rng.random(len(LABELS)) < truth).astype(int).tolist(),
                            strict=True,
                        )
                    ),
                    "truth": dict(zip(LABELS, truth.tolist(), strict=True)),
                }
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _strengths(
    process: LabelProcess, split: Split, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw the cues of a shard's opinions, (opinions, cues): the first thing its `rng` gives."""
    return np.stack([process.draw_cues(rng) for _ in range(split.opinions // split.shards)])


def main() -> None:
    """Write all splits under the folder given, else `data/demo`."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/demo")
    for name in SPLITS:
        target = write_split(name, folder)
        print(f"{target}  {content_digest(target)}  (synthetic)", flush=True)


if __name__ == "__main__":
    main()
