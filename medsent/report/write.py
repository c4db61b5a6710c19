"""From a run's predictions to its report: reduce, then metrics.json, report.md, report.html."""

import logging
from collections.abc import Sequence
from typing import Final

from medsent import predictions
from medsent.config.job import JobConfig
from medsent.errors import RunError
from medsent.metrics.build import build_metrics
from medsent.metrics.cheapest import every_pair, with_costs
from medsent.metrics.cost import Rates, variant_cost
from medsent.metrics.cuts import KeptCuts, cuts_in_use
from medsent.metrics.estimate import Estimate, value_of
from medsent.metrics.findings.repeats import told
from medsent.metrics.format import percent, significant
from medsent.metrics.headline import is_evaluated
from medsent.metrics.leakage import refuse_run
from medsent.metrics.model import Metrics, Run, Timing
from medsent.metrics.verdict import Margins
from medsent.reducer.repeats import Repetition, columns_of
from medsent.reducer.slices import MAX_VALUES
from medsent.reducer.state import Scope, reduce_batches
from medsent.report.decision import short
from medsent.report.document import Table
from medsent.report.examples import examples
from medsent.report.html import render_html
from medsent.report.layout import contents
from medsent.report.markdown import render_markdown
from medsent.report.tables.route import route_taken
from medsent.runs.clusters import Clusters
from medsent.runs.folder import QUOTING, RunFolder
from medsent.runs.log import Scored
from medsent.runs.manifest import Manifest
from medsent.runs.repeats import records_of_all, repeats_of
from medsent.storage.paths import AnyPath

logger = logging.getLogger(__name__)

FILES: Final = ("metrics.json", "report.md", "report.html")
_OWNER_ALONE: Final = 0o600
_MOST_ROWS: Final = 65_536
_MOST_CELLS: Final = _MOST_ROWS * 21
"""Records times labels read at a time, so that memory is at most that of a run with 21 labels."""


def write_report(run: RunFolder, config: JobConfig, manifest: Manifest, quoted: int = 0) -> AnyPath:
    """Reduce the run's predictions and write its three reports; return the HTML's path.

    With `quoted` above 0, a separate report also quotes up to so many opinions in each table of
    examples, and its path is returned.
    """
    metrics = reduce_run(run, config, manifest)
    for line in summary(metrics):
        logger.info(line)
    tables = examples(run, config, _scope(run, config), _compared(config), quoted) if quoted else []
    plain = write_files(run, metrics)
    return _write_quoting(run, metrics, tables) if quoted else plain


def write_files(run: RunFolder, metrics: Metrics) -> AnyPath:
    """Write a report in its three forms; return the HTML's path."""
    document = contents(metrics)
    run.write("metrics.json", metrics.to_json())
    run.write("report.md", render_markdown(document))
    return run.write("report.html", render_html(document))


def _write_quoting(run: RunFolder, metrics: Metrics, tables: Sequence[Table]) -> AnyPath:
    document = contents(metrics, tables)
    markdown, html = QUOTING
    run.write(markdown, render_markdown(document), mode=_OWNER_ALONE)
    return run.write(html, render_html(document), mode=_OWNER_ALONE)


def reduce_run(run: RunFolder, config: JobConfig, manifest: Manifest) -> Metrics:
    """Return the run's numbers from its predictions and configuration alone.

    Labels are made from the stored probabilities with the thresholds that the run's folder
    holds, so new ones need no scoring; a variant without probabilities has the labels it stores.
    Raises `ConfigError` where they were tuned on opinions of these predictions.
    """
    kept = KeptCuts.read(run)
    refuse_run(run.predictions, kept.tuned_on())
    scope, rates = _scope(run, config), _rates(run, config)
    rows = predictions.batches(run.predictions, rows=rows_at_a_time(scope))
    clusters = Clusters.asked(run, config)
    state = reduce_batches(clusters.joined(rows) if clusters else rows, scope)
    for column in sorted(state.crowded):
        logger.info(
            f"Slices: column {column!r} has more than {MAX_VALUES} values, and the report is not "
            "cut by it; take it out of statistics.slices"
        )
    records, timing = manifest.records, manifest.timing
    built = build_metrics(
        state,
        run=Run(name=config.name, fingerprint=manifest.fingerprint, note=config.note),
        timing=Timing(
            start_up_s=timing.start_up_s,
            scoring_s=timing.scoring_s,
            total_s=timing.total_s,
            # Of the sessions that were timed: one that was killed has left no time.
            seconds_per_sample=timing.scoring_s / timing.records if timing.records else None,
        ),
        provenance={
            **manifest.sources(),
            "thresholds": {name: cuts.file for name, cuts in kept.root.items()},
            "shards_quarantined": [each.model_dump() for each in manifest.shards_quarantined],
            **({"clusters": clusters.told()} if clusters else {}),
            **({"slices_left_out": [*sorted(state.crowded)]} if state.crowded else {}),
        },
        input_records=records.input,
        duplicate_record_ids=records.duplicate_record_ids,
        share=config.route.share if config.route else None,
        unread={predictions.Reason.BAD_SHARD: records.unread},
        compared=_compared(config),
        margins=Margins.of(config.statistics),
        repeated=_repeated(run, scope),
    )
    if rates is None:
        return built
    found = {name: variant_cost(state.throughput, name, rates) for name in config.variants}
    costs = {name: cost for name, cost in found.items() if cost is not None}
    return with_costs(built, state, costs, config.statistics.margin)


def _repeated(run: RunFolder, scope: Scope) -> Repetition | None:
    """Count the run's records and those of its complete repeats; None where it has none."""
    every = repeats_of(run)
    try:
        whole = [each for each in every if each.manifest() and each.holds_predictions()]
        unfinished = [each.path.name for each in every if each not in whole]
        if unfinished:
            logger.info(f"Repeats that are not complete are left out: {', '.join(unfinished)}")
        if not whole:
            return None
        done = tuple(each.path.name for each in whole)
        counted = Repetition(scope, done, tuple(unfinished))
        for batches in records_of_all([run, *whole], columns_of(scope), rows_at_a_time(scope)):
            counted.add(batches)
        return counted
    except RunError as error:  # a report on the run itself does not need them
        logger.info(f"Warning: the report tells nothing of repeats: {error}")
        return None


def rows_at_a_time(scope: Scope) -> int:
    """Return how many records to reduce at a time: what these take grows with the labels."""
    return max(1, min(_MOST_ROWS, _MOST_CELLS // len(scope.labels)))


def _scope(run: RunFolder, config: JobConfig) -> Scope:
    """Return what a run's report counts, by the labels and thresholds that its folder holds."""
    methods = {name: settings.method for name, settings in config.variants.items()}
    cuts = cuts_in_use(run, methods)
    pairs = _compared(config)
    if config.price and not config.route:
        pairs = every_pair(tuple(config.variants), pairs)
    return Scope.of(
        tuple(config.variants),
        predictions.labels_of(run.predictions),
        tuple(config.statistics.slices),
        {name: values for name, values in cuts.items() if values is not None},
        pairs=pairs,
        replicates=config.statistics.replicates,
        seed=config.statistics.seed,
        route=(config.route.candidate, config.route.fallback) if config.route else None,
    )


def _compared(config: JobConfig) -> list[tuple[str, str]]:
    return list(dict.fromkeys((pair.baseline, pair.candidate) for pair in config.compare))


def _rates(run: RunFolder, config: JobConfig) -> Rates | None:
    return Rates.of(config, [each for line in run.events(Scored) for each in line.power.values()])


def summary(metrics: Metrics) -> list[str]:
    """Return the few lines a job prints at its end: F1 and speed of each variant, verdicts."""
    records = metrics.records
    sums = f"{records.scored:,} scored + {records.quarantined:,} quarantined"
    lines = [f"{records.input:,} records = {sums}"]
    for name, variant in metrics.variants.items():
        overall, speed = variant.overall, variant.throughput
        parts = [f"answered {percent(value_of(overall.generation_success_rate))}"]
        if overall.macro_f1 is not None:
            left_out = len(overall.left_out["f1"])
            over = f" over {len(metrics.labels) - left_out} labels" if left_out else ""
            parts.append(f"macro F1 {overall.macro_f1.value:.3f}{_range(overall.macro_f1)}{over}")
        if speed is not None and speed.records_per_s is not None:
            parts.append(f"{speed.records_per_s:.1f} records/s")
        if variant.cost is not None:
            spent = significant(variant.cost.money_per_million_records.value)
            parts.append(f"{spent} {variant.cost.currency} a million records")
        lines.append(f"  {name}: {', '.join(parts)}")
    if metrics.route is not None:
        lines.append(f"  {route_taken(metrics, metrics.route)}")
    lines += [f"  {sentence}" for sentence in told(metrics)]
    if is_evaluated(metrics):
        lines += [f"  {short(pair)}" for pair in metrics.comparisons]
    return lines


def _range(figure: Estimate) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" (95% interval {figure.low:.3f} to {figure.high:.3f})"
