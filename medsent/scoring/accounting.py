"""Has each record of the input exactly one outcome? Counted before the manifest is written."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medsent import predictions
from medsent.errors import RunError
from medsent.input.records import row_hashes
from medsent.input.shard import Shard
from medsent.predictions import Outcome, Reason
from medsent.runs.blocks import Done, lost_dates
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.manifest import Counted
from medsent.scoring.plan import Plan
from medsent.storage.paths import count_rows, names_below, shown

_MOST_NAMED = 5
_MODULUS = 2**64
_COLUMNS = ("row_hash", "path", "persona", "language", "outcome", "reason", "record_id")


@dataclass
class Account:
    """What stands in a run's predictions; 8 bytes of memory a row of the input."""

    rows: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    """Path of a shard to the sum of its records' keys (`row_hash`), modulo 2^64: shows whether
    they are the records of all rows of the shard."""
    by_reason: Counter[str] = field(default_factory=Counter)
    duplicate_record_ids: int = 0
    """Rows of the input whose record_id an earlier row has."""
    retries: int = 0
    """Requests that were sent again, since their engine died."""
    lost_dates: int = 0
    """Rows of the input whose date was outside the years 1 to 9999, and is null."""
    foreign: int = 0
    """Scored records in a language that the job has no words in."""

    def look(self, file: pq.ParquetFile) -> None:
        """Count what a file's footer tells."""
        self.lost_dates += len(lost_dates(file.schema_arrow))


def count(
    run: RunFolder,
    variants: Iterable[str],
    *,
    fanned_out: bool = False,
    languages: Collection[str] | None = None,
) -> Account:
    """Count the records of a run's predictions in one pass.

    Where `fanned_out`, each row of the input makes one record for each persona. `languages` are
    those that the job has words in; if given, scored records in other languages are counted.
    """
    account, asked = Account(), list(variants)
    spoken = None if languages is None else pa.array(["", *sorted(languages)], pa.string())
    names: list[npt.NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    columns = [*_COLUMNS, *(f"{name}.attempt" for name in asked)]
    for batch in predictions.batches(run.predictions, columns, look=account.look):
        account.rows += batch.num_rows
        account.by_path.update(_counts(batch["path"]))
        account.keys.update(_key_sums(batch))
        quarantined = batch.filter(pc.equal(batch["outcome"], Outcome.QUARANTINED))
        account.by_reason.update(_counts(quarantined["reason"]))
        if spoken is not None:
            scored = batch.filter(pc.not_equal(batch["outcome"], Outcome.QUARANTINED))
            account.foreign += _foreign(scored["language"], spoken)
        attempts = (pc.struct_field(batch[name], "attempt") for name in asked)
        account.retries += sum(pc.sum(pc.subtract(each, 1)).as_py() or 0 for each in attempts)
        known = batch.filter(pc.fill_null(pc.not_equal(batch["reason"], Reason.ERASED), True))
        names.append(_hashes((_once(known) if fanned_out else known)["record_id"]))
    every = np.concatenate(names)
    account.duplicate_record_ids = len(every) - len(np.unique(every))
    return account


def settle(account: Account, ledger: Ledger, run: RunFolder, plan: Plan) -> Counted:
    """Return the manifest's account of the records.

    Raises `RunError` that says where the outcomes differ from what the input comes to.
    """
    _refuse_differences(account, ledger, run, plan)
    unread = sum(
        records - account.by_path[shown(path)]
        for path, bad in ledger.bad.items()
        if (records := plan.due(bad)) is not None
    )
    return Counted(
        input=account.rows + unread,
        by_reason=_by_reason(account, unread),
        duplicate_record_ids=account.duplicate_record_ids,
        retries=account.retries,
        lost_dates=account.lost_dates,
        foreign=account.foreign,
    )


def _by_reason(account: Account, unread: int) -> dict[str, int]:
    """Return the quarantined by their reason, those that nobody could read included."""
    by_reason = account.by_reason + Counter({Reason.BAD_SHARD.value: unread})
    return dict(by_reason.most_common())


def count_done(plan: Plan, run: RunFolder) -> int:
    """Return how many records of a plan a run holds outcomes of; touches nothing in it."""
    rows = Ledger.read(run).rows_per_block
    if rows is None:  # nothing, or a run of an earlier version
        return sum(count_rows(run.predictions, names_below(run.predictions, "*.parquet")))
    return records_done(replace(plan, rows_of_run=rows), run, Done.read(run))


def lost(plan: Plan, run: RunFolder) -> int:
    """Return how many records of a complete run's input have no outcome; by the files' names."""
    return max(0, plan.records - count_done(plan, run))


def records_done(plan: Plan, run: RunFolder, done: Done) -> int:
    """Return how many records of a plan are in blocks that are done, and in parts of others."""
    rows = plan.rows_per_block
    whole = sum(done.rows(file.path, plan.groups(file), rows) for file in plan.shards.files)
    parts = sum(count_rows(run.predictions, done.part_names()))
    return whole * max(1, len(plan.readers)) + parts


def recounted(records: Counted, account: Account) -> Counted:
    """Return a manifest's account after some of its records were erased."""
    by_reason = _by_reason(account, records.unread)
    duplicates = account.duplicate_record_ids
    return records.model_copy(update={"by_reason": by_reason, "duplicate_record_ids": duplicates})


def _refuse_differences(account: Account, ledger: Ledger, run: RunFolder, plan: Plan) -> None:
    differences = list(_differences(account, ledger, plan))
    if not differences:
        return
    more = len(differences) - _MOST_NAMED
    named = "; ".join(differences[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
    raise RunError(
        f"{run.path} does not add up: {named}. The manifest is not written. The same command "
        "scores what is missing; remove files from predictions/ that no block of this run wrote"
    )


def _differences(account: Account, ledger: Ledger, plan: Plan) -> Iterator[str]:
    """Yield a message for each shard whose records do not have exactly one outcome each."""
    for path, shard in ledger.good.items():
        outcomes, told = account.by_path[shown(path)], shown(path)
        if outcomes != (records := plan.due(shard)):
            yield f"{told} has {records} records and {outcomes} outcomes"
        elif plan.sample is None and _is_other(account.keys[told], shard, plan):
            yield f"{told} has records with two outcomes and as many with none"
    for path in account.by_path.keys() - set(map(shown, ledger.shards)):
        yield f"{path} is not in the input and has {account.by_path[path]} outcomes"


def _is_other(keys: int, shard: Shard, plan: Plan) -> bool:
    """Tell whether a sum of keys is not that of all rows of a shard, each once per reader."""
    every = int(row_hashes(shard.path, 0, shard.rows).sum(dtype=np.uint64))
    return (every * max(1, len(plan.readers)) - keys) % _MODULUS != 0


def _foreign(languages: pa.Array, spoken: pa.Array) -> int:
    """Return how many of N languages are known (not null) and not among `spoken`."""
    told = pc.drop_null(languages)
    return len(told) - int(pc.sum(pc.is_in(told, value_set=spoken)).as_py() or 0)


def _key_sums(batch: pa.RecordBatch) -> dict[str, int]:
    paths = pc.dictionary_encode(batch["path"])
    sums = np.zeros(len(paths.dictionary), np.uint64)
    np.add.at(sums, paths.indices.to_numpy(), batch["row_hash"].to_numpy())
    return dict(zip(paths.dictionary.to_pylist(), sums.tolist(), strict=True))


def _counts(column: pa.Array) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}


def _hashes(names: pa.Array) -> npt.NDArray[np.uint64]:
    """Return 64 bits for each name; a missing one counts as one name."""
    return np.fromiter((hash(name) & (2**64 - 1) for name in names.to_pylist()), np.uint64)


def _once(records: pa.RecordBatch) -> pa.RecordBatch:
    """Return one record of each row of the input: that of the first persona."""
    return records.filter(pc.equal(records["persona"], pc.min(records["persona"])))
