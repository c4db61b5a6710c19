"""Labelled readings for training: each opinion once, with all its readers and their labels."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset, Sampler

from medsent.config.input import InputSettings
from medsent.errors import InputError
from medsent.input.gold import MISSING, gold_matrix
from medsent.input.gold_sample import sample_gold
from medsent.input.records import RecordReader
from medsent.input.shards import open_shards
from medsent.input.texts import recognisable


@dataclass(frozen=True)
class Opinion:
    """One text with its R readings."""

    opinion_id: str
    text: str
    language: str
    personas: list[str | None]
    gold: npt.NDArray[np.float32]
    """(R, L): 0, 1 or NaN for missing."""


class Readings(Dataset[Opinion]):
    """Opinions in memory, in the order of their shards."""

    def __init__(self, path: str, opinions: list[Opinion], unusable: int = 0) -> None:
        self.path = path
        self.opinions = opinions
        self.unusable = unusable
        """Rows left out: no text, an unknown persona, or no label at all."""

    @classmethod
    def read(
        cls,
        path: str,
        columns: dict[str, str],
        personas: Collection[str],
        labels: Sequence[str],
        languages: Collection[str] = (),
    ) -> "Readings":
        """Read a folder of labelled shards, checked as an evaluation's input is.

        A language that is one of `languages` in another form is brought to that, as in a job.
        Raises `InputError` that names the file, column or opinion at fault.
        """
        shards = open_shards(InputSettings(path=path, columns=dict(columns)), labels)
        if "labels" not in shards.columns and not set(labels) <= set(shards.columns):
            raise InputError(
                f"{path}: no column 'labels'; training needs gold labels (map their column "
                "with data.columns)"
            )
        gold = sample_gold(shards)
        if gold.is_of_another_kind:
            raise InputError(
                f"{path}: {gold.what_is_wrong()}; training needs a vote of 0 or 1 for each label, "
                f"or names among {', '.join(labels)}: write these into the shards"
            )
        reader = RecordReader(shards, personas, languages=languages)
        records = pa.concat_tables(reader.every())
        usable = records.filter(pc.and_(records["reason"].is_null(), records["gold"].is_valid()))
        if usable.num_rows == 0:
            raise InputError(
                f"{path}: none of {records.num_rows} rows can be trained on; each needs a text, "
                "a persona of the persona file (or null) and at least one label"
            )
        return cls(path, _opinions(path, usable, labels), records.num_rows - usable.num_rows)

    def __len__(self) -> int:
        return len(self.opinions)

    def __getitem__(self, index: int) -> Opinion:
        return self.opinions[index]

    @property
    def records(self) -> int:
        """Number of readings: opinions times their readers."""
        return sum(len(opinion.personas) for opinion in self.opinions)

    def first(self, count: int) -> "Readings":
        """Return the first `count` opinions."""
        return Readings(self.path, self.opinions[:count])

    def digest(self) -> str:
        """Return the hex sha256 of ids, texts, languages, readers and gold, in order."""
        digest = hashlib.sha256()
        for opinion in self.opinions:
            fields = [opinion.opinion_id, opinion.text, opinion.language]
            digest.update(repr([*fields, *opinion.personas]).encode())
            digest.update(np.nan_to_num(opinion.gold, nan=MISSING).astype(np.int8).tobytes())
        return digest.hexdigest()

    def refuse_overlap(self, other: "Readings") -> None:
        """Raise `InputError` where an opinion stands in both."""
        shared = {o.opinion_id for o in self.opinions} & {o.opinion_id for o in other.opinions}
        if shared:
            raise InputError(
                f"{len(shared)} opinions are in both {self.path} and {other.path} "
                f"(one is {min(shared)}); split by opinion"
            )

    def without_texts_of(self, other: "Readings") -> "Readings":
        """Return the readings without the opinions whose text stands in the other's.

        Raises `InputError` where none is left.
        """
        known = set(other.texts().drop_null().to_pylist())
        texts = self.texts().to_pylist()
        left = [o for o, text in zip(self.opinions, texts, strict=True) if text not in known]
        if not left:
            raise InputError(
                f"{self.path}: the texts of all its opinions are in {other.path} too, under other "
                "ids; split by text"
            )
        return Readings(self.path, left, self.unusable)

    def texts(self) -> pa.Array:
        """Return each opinion's text as it is recognised under another id; null for a short one."""
        return recognisable(pa.array([o.text for o in self.opinions], pa.string()))


class SimilarLengths(Sampler[int]):
    """A shuffled order in which each batch holds texts of like length, to spare padding."""

    def __init__(self, readings: Readings, batch: int, seed: int) -> None:
        self._lengths = np.array([len(o.text) for o in readings.opinions])
        self._batch, self._seed, self._epoch = batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Give each epoch an order of its own."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1000 + self._epoch)
        order = torch.randperm(len(self), generator=generator).numpy()
        pool = self._batch * 32
        batches = []
        for start in range(0, len(order), pool):
            alike = sorted(order[start : start + pool], key=self._lengths.__getitem__)
            batches += [alike[i : i + self._batch] for i in range(0, len(alike), self._batch)]
        # Only the last batch may be short, or the loader would cut the others anew.
        whole = [batch for batch in batches if len(batch) == self._batch]
        rest = [batch for batch in batches if len(batch) < self._batch]
        shuffled = torch.randperm(len(whole), generator=generator).tolist()
        for batch in [whole[i] for i in shuffled] + rest:
            yield from (int(index) for index in batch)


def _opinions(path: str, records: pa.Table, labels: Sequence[str]) -> list[Opinion]:
    matrix = gold_matrix(pa.table({"labels": records["gold"]}), labels)
    assert matrix is not None  # the column is there, and of its own schema
    gold = np.where(matrix == MISSING, np.nan, matrix).astype(np.float32)
    groups: dict[str, list[int]] = {}
    for row, opinion_id in enumerate(records["opinion_id"].to_pylist()):
        groups.setdefault(opinion_id, []).append(row)
    names = ("text", "language", "persona")
    texts, languages, readers = (records[name].to_pylist() for name in names)
    opinions = []
    for key, rows in groups.items():
        if len({texts[row] for row in rows}) > 1:
            raise InputError(
                f"{path}: opinion {key} has more than one text; give each text an opinion_id "
                "of its own"
            )
        first = rows[0]
        personas = [readers[row] for row in rows]
        opinions.append(Opinion(key, texts[first], languages[first] or "", personas, gold[rows]))
    return opinions
