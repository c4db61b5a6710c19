"""Does every row of the input have exactly one outcome? Counted before the manifest is written."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.errors import RunError
from medsent.ledger import Ledger
from medsent.records import BAD_SHARD
from medsent.run import RunFolder

_MOST_NAMED = 5
_COLUMNS = ("row_hash", "path", "outcome", "reason", "record_id")


@dataclass
class Account:
    """What stands in a run's predictions; 16 bytes of memory a row."""

    rows: int = 0
    distinct: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    duplicate_record_ids: int = 0
    """Rows whose record_id an earlier row has."""
    retries: int = 0
    """Requests that were sent again, since their engine died."""


def count(run: RunFolder, variants: Iterable[str]) -> Account:
    """Count the rows of a run's predictions in one pass."""
    account = Account()
    keys: list[npt.NDArray[np.uint64]] = []
    names: list[npt.NDArray[np.uint64]] = []
    asked = list(variants)
    columns = [*_COLUMNS, *(f"{name}.attempt" for name in asked)]
    for batch in predictions.batches(run.predictions, columns):
        account.rows += batch.num_rows
        account.by_path.update(_tally(batch["path"]))
        quarantined = batch.filter(pc.equal(batch["outcome"], predictions.QUARANTINED))
        account.by_reason.update(_tally(quarantined["reason"]))
        attempts = (pc.struct_field(batch[name], "attempt") for name in asked)
        account.retries += sum(pc.sum(pc.subtract(each, 1)).as_py() or 0 for each in attempts)
        keys.append(batch["row_hash"].to_numpy())
        names.append(_hashes(batch["record_id"]))
    account.distinct = _distinct(keys)
    account.duplicate_record_ids = account.rows - _distinct(names)
    return account


def settle(account: Account, ledger: Ledger, run: RunFolder) -> dict[str, Any]:
    """Return the manifest's account of the rows.

    Raises `RunError` that says where the outcomes differ from the input's rows.
    """
    _refuse_differences(account, ledger, run)
    unread = {
        path: bad.rows - account.by_path[path]
        for path, bad in ledger.bad.items()
        if bad.rows is not None
    }
    by_reason = account.by_reason.copy()
    if sum(unread.values()):
        by_reason[BAD_SHARD] += sum(unread.values())
    rows = account.rows + sum(unread.values())
    return {
        "input": rows,
        "scored": rows - by_reason.total(),
        "quarantined": by_reason.total(),
        "by_reason": dict(by_reason.most_common()),
        "duplicate_record_ids": account.duplicate_record_ids,
        "retries": account.retries,
    }


def _refuse_differences(account: Account, ledger: Ledger, run: RunFolder) -> None:
    differences = list(_differences(account, ledger))
    if account.distinct != account.rows:
        differences.insert(0, f"{account.rows - account.distinct} rows have two outcomes")
    if not differences:
        return
    more = len(differences) - _MOST_NAMED
    named = "; ".join(differences[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
    raise RunError(
        f"{run.path} does not add up: {named}. The manifest is not written. The same command "
        "drops what is doubled and scores what is missing"
    )


def _differences(account: Account, ledger: Ledger) -> Iterator[str]:
    """Yield each shard whose rows and outcomes are not as many."""
    for path, shard in ledger.good.items():
        if account.by_path[path] != shard.rows:
            yield f"{path} has {shard.rows} rows and {account.by_path[path]} outcomes"
    for path in account.by_path.keys() - ledger.shards.keys():
        yield f"{path} is not in the input and has {account.by_path[path]} outcomes"


def _tally(column: pa.Array) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}


def _hashes(names: pa.Array) -> npt.NDArray[np.uint64]:
    """Return 64 bits for each name; a missing one counts as one name."""
    return np.fromiter((hash(name) & (2**64 - 1) for name in names.to_pylist()), np.uint64)


def _distinct(parts: list[npt.NDArray[np.uint64]]) -> int:
    return len(np.unique(np.concatenate(parts))) if parts else 0
