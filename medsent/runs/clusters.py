"""Opinions whose texts are nearly the same, kept by a run whose report counts them as one."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from medsent.config.job import JobConfig
from medsent.errors import RunError
from medsent.runs.erased import Erased, opinion_hash
from medsent.runs.files import Written, read_file
from medsent.runs.folder import CLUSTERS, RunFolder

_REMEDY: Final = "run its job again, which finds them anew in its shards"


class Clusters(Written):
    """What a run keeps of them: hashes of their ids, as `erased` has them, and no text."""

    opinions: int
    """How many opinions with gold were looked at."""
    unread: int
    """Of these, how many have no text in the shards any more; each is a cluster by itself."""
    clusters: list[list[str]]
    """Each of two opinions or more."""

    @classmethod
    def read(cls, run: RunFolder) -> "Clusters | None":
        """Read a run's; None where it has none. Raises `RunError` where they are damaged."""
        return read_file(run.path / CLUSTERS, cls, _REMEDY)

    @classmethod
    def asked(cls, run: RunFolder, config: JobConfig) -> "Clusters | None":
        """Return those that a run's report is to count as one; None where it is to count none.

        Raises `RunError` where the run has not looked for them.
        """
        if config.statistics.cluster == "opinion":
            return None
        found = cls.read(run)
        if found is None:
            raise RunError(
                f"{run.path} is to take near-duplicates together (statistics.cluster) and has no "
                f"{CLUSTERS}; {_REMEDY}"
            )
        return found

    def write(self, run: RunFolder) -> None:
        """Write them into a run."""
        run.write(CLUSTERS, self.to_json())

    def without(self, erased: Erased) -> "Clusters":
        """Return what is left where a run must not hold some opinions."""
        left = ([one for one in each if one not in erased.opinions] for each in self.clusters)
        return self.model_copy(update={"clusters": [each for each in left if len(each) > 1]})

    @property
    def clustered(self) -> int:
        """How many opinions are nearly the same as another."""
        return sum(map(len, self.clusters))

    def told(self) -> dict[str, JsonValue]:
        """Return what a report says of them."""
        return {
            "of": "near_duplicates",
            "opinions": self.opinions,
            "clustered": self.clustered,
            "clusters": len(self.clusters),
            "unread": self.unread,
        }

    def joined(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield predictions in which the opinions of a cluster have one opinion_id."""
        one = {member: each[0] for each in self.clusters for member in each}
        for batch in batches:
            place = batch.schema.get_field_index("opinion_id")
            coded = pc.dictionary_encode(batch["opinion_id"])
            names = [one.get(opinion_hash(name), name) for name in coded.dictionary.to_pylist()]
            ids = pa.array(names, pa.string()).take(coded.indices)
            yield batch.set_column(place, batch.schema.field(place), ids)


def clusters_of(groups: Iterable[Collection[str]], opinions: int, unread: int) -> Clusters:
    """Return what is kept of groups of opinion ids, the same in whatever order these are found."""
    hashed = sorted(sorted(map(opinion_hash, each)) for each in groups if len(each) > 1)
    return Clusters(opinions=opinions, unread=unread, clusters=hashed)
