"""A run's memory of its shards: which are scored, which are quarantined, as they were then."""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

import pyarrow as pa
from pydantic import PlainSerializer, PlainValidator

from medsent.errors import InputError, RunError
from medsent.input.shard import BadShard, Fault, Shard
from medsent.input.shards import Shards
from medsent.runs.blocks import CUT
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder
from medsent.runs.manifest import Quarantined
from medsent.storage.paths import shown

_Entry = TypeVar("_Entry", Shard, BadShard)
_FILE = "ledger.json"
_REMEDY = (
    "where the run is complete and no shard was rewritten since, delete it and give the same "
    "command again, which makes the report; to score more, begin a new run with --set name=NAME"
)
_ANEW = (
    "`medsent requeue RUN --shard PATH` scores it anew; or put the former data back, and give the "
    "new another name"
)
_BACK = "put it back, or take its rows out of the run with `medsent requeue RUN --shard PATH`"


def _read_fields(kept: Any) -> tuple[pa.Field, ...]:
    if isinstance(kept, tuple):
        return kept
    try:
        return tuple(pa.ipc.read_schema(pa.py_buffer(b64decode(kept))))
    except (TypeError, OSError, pa.ArrowException) as error:
        raise ValueError("kept is no Arrow schema") from error


def _write_fields(kept: Iterable[pa.Field]) -> str:
    return b64encode(pa.schema(kept).serialize().to_pybytes()).decode()


_Fields = Annotated[
    tuple[pa.Field, ...], PlainValidator(_read_fields), PlainSerializer(_write_fields)
]
"""In the file an Arrow schema in base64."""


class _Written(Written):
    """The ledger's file."""

    good: tuple[Shard, ...]
    bad: tuple[BadShard, ...]
    rows_per_block: int | None = None
    cut: int = CUT
    kept: _Fields | None = None


@dataclass(frozen=True)
class Ledger:
    """What a run knows of its shards, each by its canonical path."""

    good: Mapping[str, Shard] = field(default_factory=dict)
    bad: Mapping[str, BadShard] = field(default_factory=dict)
    """Quarantined. The rows that were scored before stay scored."""
    rows_per_block: int | None = None
    """How its blocks are cut, since its first start; None before that, and in runs of before."""
    cut: int = CUT
    kept: tuple[pa.Field, ...] | None = None
    """The kept columns in the types that the run holds them in, since its first start."""

    @classmethod
    def read(cls, run: RunFolder) -> "Ledger":
        """Read a run's ledger, an empty one where it has none yet.

        Raises `RunError` where it is damaged.
        """
        found = read_file(run.path / _FILE, _Written, _REMEDY)
        if found is None:
            return cls()
        good, bad = _by_path(found.good), _by_path(found.bad)
        return cls(good, bad, found.rows_per_block, found.cut, found.kept)

    def write(self, run: RunFolder) -> None:
        """Write the ledger into a run, whole or not at all."""
        good, bad = (tuple(each[path] for path in sorted(each)) for each in (self.good, self.bad))
        written = _Written(
            good=good, bad=bad, rows_per_block=self.rows_per_block, cut=self.cut, kept=self.kept
        )
        run.write(_FILE, written.to_json())

    @property
    def shards(self) -> dict[str, Shard | BadShard]:
        """Every shard, good or bad, by path."""
        return {**self.good, **self.bad}

    def admit(self, shards: Shards) -> "Ledger":
        """Return the ledger with a listing's new shards.

        A quarantined shard that was mended, or that came back, is taken as a good one.
        Raises `InputError` where a shard that is scored was rewritten since, or is in the
        input no more.
        """
        found: list[Shard | BadShard] = [*shards.files, *shards.bad]
        rewritten = [shard.path for shard in found if _is_other(self._known(shard.path), shard)]
        if rewritten:
            raise InputError(
                f"{_named(rewritten)} was rewritten since its rows were scored; {_ANEW}"
            )
        gone = sorted(self.good.keys() - {shard.path for shard in found})
        if gone:
            raise InputError(f"{_named(gone)} is no longer in the input; {_BACK}")
        good, bad = dict(self.good), dict(self.bad)
        for shard in found:
            entry = self._entry(shard)
            if isinstance(entry, Shard):
                good[entry.path] = entry
                bad.pop(entry.path, None)
            else:
                bad[entry.path] = entry
                good.pop(entry.path, None)
        return replace(self, good=good, bad=bad)

    def _entry(self, shard: Shard | BadShard) -> Shard | BadShard:
        """Return what to hold of a shard as it is listed now."""
        known = self._known(shard.path)
        if isinstance(known, BadShard) and _stays_bad(known, shard):
            return known
        if known is not None and isinstance(shard, BadShard):
            return replace(shard, rows=known.rows if shard.rows is None else shard.rows)
        return shard

    def _known(self, path: str) -> Shard | BadShard | None:
        return self.bad.get(path) or self.good.get(path)

    def readable(self, shards: Shards) -> Shards:
        """Return a listing with the quarantined shards among its bad ones.

        Raises `InputError` where no shard is left.
        """
        files = tuple(file for file in shards.files if file.path not in self.bad)
        left_out = [
            replace(self.bad[file.path], size_bytes=file.size_bytes, etag=file.etag)
            for file in shards.files
            if file.path in self.bad
        ]
        if not files:
            why = [shard.message for shard in (*left_out, *shards.bad)]
            raise InputError(f"every shard of the input is quarantined: {', '.join(why[:1])}")
        bad = sorted((*shards.bad, *left_out), key=lambda shard: shard.path)
        return replace(shards, files=files, bad=tuple(bad))

    def known(self, shards: Shards) -> Shards:
        """Return a listing without the shards that have come since."""
        files = tuple(file for file in shards.files if file.path in self.shards)
        bad = tuple(shard for shard in shards.bad if shard.path in self.shards)
        return replace(shards, files=files, bad=bad)

    def quarantine(self, bad: BadShard) -> "Ledger":
        """Return the ledger with a shard quarantined."""
        return replace(self.forget(bad.path), bad={**self.bad, bad.path: bad})

    def forget(self, path: str) -> "Ledger":
        """Return the ledger without a shard: it is taken as it is listed next."""
        return replace(self, good=_without(self.good, path), bad=_without(self.bad, path))

    def quarantined(self) -> tuple[Quarantined, ...]:
        """Return what a manifest records of the quarantined shards, in the order of paths."""
        shards = (self.bad[path] for path in sorted(self.bad))
        return tuple(Quarantined.model_validate(each, from_attributes=True) for each in shards)


def refuse_former(run: RunFolder, ledger: Ledger) -> None:
    """Refuse to score for a run that another version began, whose blocks are cut otherwise."""
    if (ledger.rows_per_block and ledger.cut == CUT) or not run.holds_predictions():
        return
    raise RunError(
        f"{run.path} was begun by another version of medsent, which cuts its input in another way. "
        "Finish it with that version, or begin a new run with --set name=NAME. Its report, "
        "compare and erase go on as they are"
    )


def _is_same(known: Shard | BadShard, shard: Shard | BadShard) -> bool:
    return (known.size_bytes, known.etag) == (shard.size_bytes, shard.etag)


def _is_other(known: Shard | BadShard | None, shard: Shard | BadShard) -> bool:
    """Tell whether a shard of which rows may be scored holds other data now."""
    if isinstance(known, Shard):
        return not _is_same(known, shard) or shard.rows not in (None, known.rows)
    if known is None or known.reason not in (Fault.CORRUPT_PAGE, Fault.DISAPPEARED):
        return False
    return known.rows is not None and shard.rows not in (None, known.rows)


def _stays_bad(known: BadShard, shard: Shard | BadShard) -> bool:
    """Tell whether a quarantined shard remains so, for what was found wrong with it then."""
    if (
        known.reason == Fault.REWRITTEN
    ):  # some rows of its former data are scored: only a requeue helps
        return True
    if not _is_same(known, shard):
        return False
    # A footer does not show a corrupt page. It shows any other fault: so the listing is right.
    return isinstance(shard, BadShard) or known.reason == Fault.CORRUPT_PAGE


def _named(paths: Sequence[str]) -> str:
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{shown(paths[0])}{more}"


def _by_path(shards: Iterable[_Entry]) -> dict[str, _Entry]:
    return {shard.path: shard for shard in shards}


def _without(shards: Mapping[str, _Entry], path: str) -> dict[str, _Entry]:
    return {other: shard for other, shard in shards.items() if other != path}
