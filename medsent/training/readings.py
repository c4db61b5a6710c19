"""Labelled readings for training: each opinion once, with all its readers and their labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from torch.utils.data import Dataset, Sampler

from medsent.errors import ConfigError, InputError
from medsent.gold import MISSING, gold_matrix
from medsent.personas import Persona

_NEEDED = ("opinion_id", "text", "language", "persona")


@dataclass(frozen=True)
class Opinion:
    """One text with its R readings."""

    opinion_id: str
    text: str
    language: str
    personas: list[str | None]
    gold: npt.NDArray[np.float32]
    """(R, 21): 0, 1 or NaN for missing."""


class Readings(Dataset[Opinion]):
    """All opinions of a folder of labelled Parquet shards, in memory, in the order of the shards."""

    def __init__(self, path: str, columns: dict[str, str], personas: dict[str, Persona]) -> None:
        self.path = path
        try:
            shards = ds.dataset(path, format="parquet")
        except (OSError, ValueError) as error:
            raise ConfigError(f"data: no Parquet shards at {path}") from error
        theirs = {columns.get(name, name): name for name in (*_NEEDED, "labels")}
        absent = [name for name in theirs if name not in shards.schema.names]
        if absent:
            raise InputError(f"{path}: no column {absent[0]!r}; map it with data.columns")
        table = shards.to_table(columns=list(theirs)).rename_columns(list(theirs.values()))
        gold = gold_matrix(table)
        if gold is None:
            raise InputError(f"{path}: the column 'labels' is empty; training needs gold labels")
        unknown = set(pc.unique(table["persona"]).to_pylist()) - set(personas) - {None}
        if unknown:
            raise InputError(f"{path}: persona {min(unknown)!r} is not in the persona file")
        labels = np.where(gold == MISSING, np.nan, gold).astype(np.float32)
        groups: dict[str, list[int]] = {}
        for row, opinion_id in enumerate(table["opinion_id"].to_pylist()):
            groups.setdefault(opinion_id, []).append(row)
        texts, languages, readers = (table[n].to_pylist() for n in ("text", "language", "persona"))
        self.opinions = [
            Opinion(key, texts[rows[0]], languages[rows[0]], [readers[r] for r in rows], labels[rows])
            for key, rows in groups.items()
        ]

    def __len__(self) -> int:
        return len(self.opinions)

    def __getitem__(self, index: int) -> Opinion:
        return self.opinions[index]

    def refuse_overlap(self, other: "Readings") -> None:
        """Raise `InputError` where an opinion stands in both."""
        shared = {o.opinion_id for o in self.opinions} & {o.opinion_id for o in other.opinions}
        if shared:
            raise InputError(
                f"{len(shared)} opinions are in both {self.path} and {other.path} "
                f"(one is {min(shared)}); split by opinion"
            )


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
        whole, rest = [b for b in batches if len(b) == self._batch], [b for b in batches if len(b) < self._batch]
        shuffled = torch.randperm(len(whole), generator=generator).tolist()
        for batch in [whole[i] for i in shuffled] + rest:
            yield from (int(index) for index in batch)
