"""Opinions that thresholds were tuned on flatter them: they are found before they are counted."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.errors import ConfigError
from medsent.input import casting
from medsent.input.reading import PAGE_READERS, OpenShard, opened
from medsent.input.records import ids_of, opinion_ids
from medsent.input.shard import Shard, ShardError
from medsent.input.shards import Shards
from medsent.input.texts import ids_and_texts, recognisable, text_hashes
from medsent.metrics.statistics.thresholds import Hashes, TunedOn, hash_opinions
from medsent.storage.paths import AnyPath

_NONE: Hashes = np.empty(0, np.uint64)


def refuse_input(shards: Shards, tuned: Mapping[str, TunedOn]) -> None:
    """Refuse thresholds for an input with gold of opinions that they were tuned on.

    `tuned` is thresholds file to what it was tuned on. An opinion is known by its id, and by its
    text under another id where the file has hashes of texts. Of the shards only the ids are
    read, and the texts where these are compared or an id is a text's hash; the memory needed
    depends on `tuned` alone. Raises `ConfigError` that names the file. A shard that cannot be
    read is passed over: the job that reads it tells.
    """
    if not tuned or not has_gold(shards.columns, shards.labels):
        return
    sought = Sought.of(tuned)
    with ThreadPoolExecutor(PAGE_READERS) as threads:
        found = reduce(np.union1d, threads.map(partial(_in_shard, shards, sought), shards.files))
    _refuse(
        tuned,
        found,
        "this input",
        "To label them all the same, leave `thresholds` out for 0.5, or take their gold away "
        "with input.columns",
    )


def refuse_run(folder: AnyPath, tuned: Mapping[str, TunedOn]) -> None:
    """Refuse thresholds for predictions with gold of opinions that they were tuned on.

    `folder` is a run's `predictions/`, which hold no text: opinions are known by their ids.
    Raises `ConfigError` that names the file.
    """
    if not tuned:
        return
    sought = Sought.of(tuned)
    found = reduce(np.union1d, map(sought.ids, labelled_opinions(folder)), _NONE)
    _refuse(
        tuned,
        found,
        f"{folder.parent}",
        "Run `medsent evaluate` with other thresholds, or without: it scores nothing again",
    )


def labelled_opinions(folder: AnyPath) -> Iterator[pa.Array]:
    """Yield the opinion_id of each scored record with gold, of each batch of predictions."""
    for rows in predictions.batches(folder, ["opinion_id", "outcome", "gold"]):
        scored = pc.equal(rows["outcome"], predictions.Outcome.SCORED)
        yield rows["opinion_id"].filter(pc.and_(scored, pc.is_valid(rows["gold"])))


def has_gold(columns: Mapping[str, str], labels: Sequence[str]) -> bool:
    """Tell whether an input of these columns may have gold."""
    return any(name in columns for name in ("labels", *labels))


@dataclass(frozen=True)
class Sought:
    """The opinions that are looked for, by hashes of their ids and of their texts."""

    hashes: Hashes
    """(K,), sorted and distinct, of ids and texts alike: with 64 bits they do not get mixed up."""
    keys: tuple[str, ...]
    """The keys that texts are hashed with; none where no file has hashes of texts."""

    @classmethod
    def of(cls, tuned: Mapping[str, TunedOn]) -> "Sought":
        """Return those that any of these files was tuned on."""
        each = list(tuned.values())
        hashes = [*(one.hashes for one in each), *(one.recognised for one in each)]
        keys = dict.fromkeys(one.data_digest for one in each if len(one.recognised))
        return cls(np.unique(np.concatenate(hashes)), tuple(keys))

    def ids(self, ids: pa.Array) -> Hashes:
        """Return the sought hashes that belong to any of these ids."""
        known = hash_opinions(pc.unique(ids).drop_null().to_pylist())
        return np.intersect1d(known, self.hashes, assume_unique=True)

    def either(self, rows: pa.Table) -> Hashes:
        """Return the sought hashes that belong to an opinion_id or a text of these rows."""
        found = self.ids(rows["opinion_id"])
        texts = recognisable(pc.unique(rows["text"])) if self.keys else None
        for key in self.keys:
            found = np.union1d(found, np.intersect1d(text_hashes(texts, key), self.hashes))
        return found

    def groups(self, file: OpenShard) -> list[int]:
        """Return the row groups of a shard that have some of them; its gold is not read."""
        if self.keys:
            every = ((group, self.either(rows)) for group, rows in ids_and_texts(file))
        else:
            every = ((group, self.ids(ids)) for group, ids in opinion_ids(file))
        return sorted({group for group, found in every if len(found)})


def _in_shard(shards: Shards, sought: Sought, shard: Shard) -> Hashes:
    """Return which of the sought opinions a shard has gold of; gold is read only of a find."""
    found = _NONE
    names = ("opinion_id", "text", "labels", *shards.labels)
    with suppress(ShardError), opened(shards, shard) as file:
        for _, rows in file.tables(names, sought.groups(file)):
            texts = casting.texts(rows["text"])[0]
            known = pa.table({"opinion_id": ids_of(rows), "text": texts})
            with_gold = casting.gold(rows, shards.labels, shards.gold_cut)[0].is_valid()
            found = np.union1d(found, sought.either(known.filter(with_gold)))
    return found


def _refuse(tuned: Mapping[str, TunedOn], found: Hashes, where: str, instead: str) -> None:
    for file, tuned_on in tuned.items():
        shared, by_text = tuned_on.shared(found)
        if shared:
            under = f", {by_text:,} of them under another id with the same text" if by_text else ""
            raise ConfigError(
                f"thresholds: {file} was tuned on opinions of {where}: {shared:,} of its "
                f"{tuned_on.opinions:,} have gold labels here{under}, and figures on them would "
                "flatter it. Evaluate other data, or tune on other opinions with `medsent "
                f"thresholds`. {instead}"
            )
