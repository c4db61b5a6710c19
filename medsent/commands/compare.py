"""Two runs over the same records, set against each other as two variants of one."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.config.job import JobConfig
from medsent.errors import ConfigError, RunError
from medsent.metrics.build import build_metrics
from medsent.metrics.cheapest import with_costs
from medsent.metrics.cost import Cost
from medsent.metrics.cuts import cuts_in_use
from medsent.metrics.model import Metrics, Run, read_metrics
from medsent.metrics.verdict import Margins
from medsent.predictions import KEYS, Outcome, Reason, label_matrix
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.write import summary, write_files
from medsent.runs.clusters import Clusters
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.runs.manifest import Manifest
from medsent.runs.shared_labels import SharedLabels, narrow_answers, narrow_gold
from medsent.storage.paths import AnyPath, any_path

logger = logging.getLogger(__name__)

_KEYS: Final = ["opinion_id", "persona", "record_id"]
_SHOWN: Final = 12
"""So many characters of each fingerprint name the comparison's folder."""

Keys = npt.NDArray[Any]


@dataclass(frozen=True)
class Side:
    """One variant of a complete run."""

    run: RunFolder
    config: JobConfig
    manifest: Manifest
    variant: str
    shown: str = ""
    """Sets apart two runs of one name."""

    @classmethod
    def open(cls, folder: str | AnyPath, variant: str | None, option: str) -> "Side":
        """Read a run's settings; `option` is the one that names its variant.

        Without a name it is the run's only variant, or the candidate of its only comparison.
        Raises `ConfigError` where that is not one, `RunError` for a run that is not complete.
        """
        run = RunFolder(any_path(folder).resolve())
        config, manifest = run.config(), run.complete()
        return cls(run, config, manifest, _chosen(config, variant, run, option))

    @property
    def name(self) -> str:
        """The variant and its run."""
        return f"{self.variant}@{self.run.path.name}{self.shown and f' {self.shown}'}"

    @property
    def thresholds(self) -> dict[str, float] | None:
        """The thresholds in use; None for a variant without probabilities."""
        method = self.config.variants[self.variant].method
        return cuts_in_use(self.run, {self.variant: method})[self.variant]

    def cost(self) -> Cost | None:
        """Return what the run's report says that the variant costs; None where it says nothing.

        That is at the pace of the whole run. What an engine did for the compared records alone
        could not be told from what it did between them.
        """
        file = self.run.path / "metrics.json"
        if self.config.price is None or not file.is_file():
            return None
        found = read_metrics(file).variants.get(self.variant)
        return None if found is None else found.cost

    def table(self, columns: list[str]) -> pa.Table:
        """Read the run's records with these columns and the variant's answers.

        Erased ones are left out, and those that a route took past the variant.
        """
        names = [*KEYS, *columns, self.variant]
        table = Erased.read(self.run).drop(predictions.table(self.run.predictions, names))
        meant = pc.fill_null(pc.not_equal(table["reason"], Reason.ERASED), True)
        if self.config.route is not None:
            unscored = pc.not_equal(table["outcome"], Outcome.SCORED)
            asked = pc.or_(table[self.variant].is_valid(), unscored)
            meant = pc.and_(meant, asked)
        return table.filter(meant)


def open_reference(
    folder: str | None, variants: Sequence[str], labels: Sequence[str] | None = None
) -> RunFolder | None:
    """Return the run that `reference` names, checked to be complete and to have all the variants.

    It must also have at least one of `labels`, if given. Raises `ConfigError` or `RunError` where
    it cannot be compared with.
    """
    if folder is None:
        return None
    sides = [Side.open(folder, name, "reference") for name in variants]
    run = sides[0].run
    if not run.holds_predictions():
        raise RunError(f"reference: {run.path} holds no predictions any more; pin another run")
    if labels is not None and not set(labels) & set(predictions.labels_of(run.predictions)):
        raise RunError(
            f"reference: {run.path} has none of this job's labels; pin a run of the same label file"
        )
    return run


def compare_runs(
    baseline: str | AnyPath,
    candidate: str | AnyPath,
    names: tuple[str | None, str | None],
    output: str | AnyPath | None,
) -> AnyPath:
    """Compare two runs on the records that both hold; return the report's path.

    Runs of other labels are compared by those that both have, in the candidate's order. `names`
    are the variants' where a run has several. The report's folder is `output`, or
    `compare-...` beside the candidate's run. Raises `RunError` where the runs share no label
    or no records, or where the gold of these differs.
    """
    sides = (
        Side.open(baseline, names[0], "--baseline"),
        Side.open(candidate, names[1], "--candidate"),
    )
    if (sides[0].run, sides[0].variant) == (sides[1].run, sides[1].variant):
        raise ConfigError(f"compare: both are {sides[0].name}; name two runs or two variants")
    if sides[0].name == sides[1].name:
        sides = (replace(sides[0], shown="A"), replace(sides[1], shown="B"))
    folder = any_path(output or sides[1].run.path.parent / _folder(sides))
    if (folder / "config.yaml").exists():
        raise ConfigError(
            f"--output: {folder} is a run, and its report would be lost; name another"
        )
    metrics = compare_sides(sides)
    folder.mkdir(parents=True, exist_ok=True)
    for line in (*summary(metrics), *_told_of_costs(metrics)):
        logger.info(line)
    return write_files(RunFolder(folder), metrics)


def compare_sides(sides: tuple[Side, Side], *, sliced: bool = True) -> Metrics:
    """Return the numbers of baseline and candidate, whose names differ, and their comparison.

    With `sliced`, those of slices of the records as well.

    Raises `RunError` where the runs share no label or no records, or where the gold of these
    differs.
    """
    base, candidate = sides
    labels = SharedLabels.of(base.run, candidate.run)
    for line in labels.told(base.run.path.name, candidate.run.path.name):
        logger.info(line)
    slices = _common_slices(sides) if sliced else []
    kept = [name for name in slices if name not in KEYS]
    tables = [_narrowed(side.table(kept), side.variant, labels.names) for side in sides]
    rows = _joined(tables[0], tables[1], sides)
    batches = rows.to_batches(max_chunksize=65_536)
    clusters = Clusters.asked(candidate.run, candidate.config)
    cuts = {side.name: side.thresholds for side in sides}
    scope = Scope.of(
        [base.name, candidate.name],
        labels.names,
        slices,
        {
            name: {label: values[label] for label in labels.names}
            for name, values in cuts.items()
            if values is not None
        },
        pairs=[(base.name, candidate.name)],
        replicates=candidate.config.statistics.replicates,
        seed=candidate.config.statistics.seed,
    )
    notes = dict.fromkeys(side.config.note for side in sides if side.config.note)
    state = reduce_batches(clusters.joined(batches) if clusters else batches, scope)
    built = build_metrics(
        state,
        run=Run(name=_title(sides), fingerprint=_fingerprint(sides), note=" ".join(notes) or None),
        provenance={
            **{side.name: side.manifest.sources() for side in sides},
            **({"clusters": clusters.told()} if clusters else {}),
        },
        labels_left_out=labels.left_out(base.name, candidate.name),
        margins=Margins.of(candidate.config.statistics),
    )
    found = {side.name: side.cost() for side in sides}
    costs = {name: cost for name, cost in found.items() if cost is not None}
    return with_costs(built, state, costs, candidate.config.statistics.margin)


def _told_of_costs(metrics: Metrics) -> Iterator[str]:
    """Yield why the costs of two runs are not compared, where one at least is known."""
    costs = {name: variant.cost for name, variant in metrics.variants.items()}
    for name, cost in costs.items():
        if cost is None and any(costs.values()):
            yield (
                f"What {name} costs is not known: run its job again with a price, which scores "
                "nothing anew."
            )
    if len({cost.currency for cost in costs.values() if cost is not None}) > 1:
        yield "Costs in two currencies are not compared."


def _narrowed(table: pa.Table, variant: str, labels: Sequence[str]) -> pa.Table:
    """Return a run's records with gold and answers of these labels alone."""
    for name, narrow in (("gold", narrow_gold), (variant, narrow_answers)):
        column = narrow(table[name].combine_chunks(), labels)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _joined(base: pa.Table, candidate: pa.Table, sides: tuple[Side, Side]) -> pa.Table:
    """Return the records of both, with the answers of each in a column of its name."""
    left, right = _place(base, candidate, sides)
    if not len(left):
        raise RunError(
            f"{sides[0].run.path} and {sides[1].run.path} share no record: neither rows of the "
            "same shards, nor the same opinion_id, persona and record_id"
        )
    for side, table in zip(sides, (base, candidate), strict=True):
        if alone := table.num_rows - len(left):
            logger.info(f"Left out: {alone:,} records that only {side.run.path.name} holds.")
    old, new = base.take(left), candidate.take(right)
    _refuse_other_gold(old, new, sides)
    scored = pc.and_(*(pc.equal(table["outcome"], Outcome.SCORED) for table in (old, new)))
    reason = pc.coalesce(old["reason"], new["reason"])
    columns = {name: new[name] for name in new.column_names if name != sides[1].variant}
    columns["outcome"] = pc.if_else(scored, Outcome.SCORED, Outcome.QUARANTINED)
    columns["reason"] = pc.if_else(scored, pa.scalar(None, pa.string()), reason)
    columns[sides[0].name] = old[sides[0].variant]
    columns[sides[1].name] = new[sides[1].variant]
    return pa.table(columns).combine_chunks()


def _place(base: pa.Table, candidate: pa.Table, sides: tuple[Side, Side]) -> tuple[Keys, Keys]:
    """Return the places in each run's table of the records that both hold.

    Records are matched by row as well if that finds all records of the smaller run, else by their
    ids and persona alone.
    """
    by_row = [_digests(table, ["row_hash", *_KEYS]) for table in (base, candidate)]
    if len(np.intersect1d(by_row[0], by_row[1])) == min(map(len, by_row)):
        keys = by_row
    else:
        keys = [_digests(table, _KEYS) for table in (base, candidate)]
    for side, found in zip(sides, keys, strict=True):
        if len(np.unique(found)) < len(found):
            raise RunError(
                f"{side.run.path} holds records of the same {', '.join(_KEYS)}, so that they "
                "cannot be told apart; give each its own record_id"
            )
    _, left, right = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    return left, right


def _digests(table: pa.Table, names: list[str]) -> Keys:
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return np.array([hashlib.sha256(repr(row).encode()).digest() for row in rows])


def _refuse_other_gold(old: pa.Table, new: pa.Table, sides: tuple[Side, Side]) -> None:
    gold = [label_matrix(table["gold"].combine_chunks(), "") for table in (old, new)]
    if differ := int((gold[0] != gold[1]).any(axis=1).sum()):
        raise RunError(
            f"the gold of {differ:,} records differs between {sides[0].run.path} and "
            f"{sides[1].run.path}; score both on the same labels"
        )


def _chosen(config: JobConfig, variant: str | None, run: RunFolder, option: str) -> str:
    known = ", ".join(config.variants)
    if variant is not None:
        if variant not in config.variants:
            raise ConfigError(f"{option}: {run.path.name} has no variant {variant!r} ({known})")
        return variant
    candidates = {pair.candidate for pair in config.compare} or set(config.variants)
    if len(candidates) > 1:
        raise ConfigError(f"{run.path.name} has several variants ({known}); name one by {option}")
    return candidates.pop()


def _common_slices(sides: tuple[Side, Side]) -> list[str]:
    """The candidate's slices, as far as the baseline's run has the columns."""
    return [
        name
        for name in sides[1].config.statistics.slices
        if all(name in KEYS or name in side.config.input.keep for side in sides)
    ]


def _title(sides: tuple[Side, Side]) -> str:
    return f"compare-{sides[1].config.name}"


def _fingerprint(sides: tuple[Side, Side]) -> str:
    return hashlib.sha256("\n".join(side.name for side in sides).encode()).hexdigest()[:_SHOWN]


def _folder(sides: tuple[Side, Side]) -> str:
    return f"{_title(sides)}-{_fingerprint(sides)}"
