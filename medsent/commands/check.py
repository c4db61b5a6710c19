"""`medsent check`: does everything fit together, and what will it take?"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medsent.commands.pace import Pace, cost
from medsent.config.job import JobConfig
from medsent.errors import ConfigError, some_of
from medsent.input.texts import LEAST, texts_among
from medsent.metrics.leakage import has_gold
from medsent.metrics.near_duplicates import grouped
from medsent.metrics.same_texts import first_rows, same_texts
from medsent.predictions import Reason
from medsent.scoring.asked import answer_words, prompt_words
from medsent.scoring.cautions import Sampled, cautions
from medsent.scoring.cluster import Capacity, check_cluster, engines_held, occupancy
from medsent.scoring.hopeless import refuse_hopeless
from medsent.scoring.opening import try_output
from medsent.scoring.plan import Plan, make_plan
from medsent.scoring.resumption import refuse_run
from medsent.scoring.variant import Variant
from medsent.storage.paths import shown

logger = logging.getLogger(__name__)

_MOST_NAMED = 5


@dataclass(frozen=True)
class Measured:
    """What some records of the input say of the rest."""

    records: int
    quarantined: dict[str, int]
    tokens: dict[str, float]
    """Variant to the mean length of its prompts, in tokens."""


def check(config: JobConfig) -> Plan:
    """Print what a job comes to, without an engine. Raises `MedsentError` where it cannot run."""
    plan = make_plan(config)
    try_output(plan)
    refuse_run(plan)
    tell(plan)
    pace = Pace.latest(plan)
    for heading, text in cost(config, plan.records, pace):
        logger.info(f"{heading:<15} {text}")
    time = "time unknown"
    if pace is not None:
        minutes = pace.seconds(plan.records) / 60
        time = f"about {minutes:.0f} min on what the last run had ({pace.run.path.name})"
    logger.info(f"Ready: start the job by its command with the same file ({time}).")
    return plan


def tell(plan: Plan, *, here: bool = True) -> None:
    """Print what a job comes to, but for the time it takes.

    Raises `ConfigError` where it is to run `here` and this cluster cannot hold it, `InputError`
    where no record that is looked at could be scored.
    """
    sampled = Sampled(plan)
    measured = _measure(plan, sampled)
    for heading, text in _lines(plan, sampled, measured, here):
        logger.info(f"{heading:<15} {text}")
    refuse_hopeless(measured.records, measured.quarantined, plan)


def _lines(
    plan: Plan, sampled: Sampled, measured: Measured, here: bool
) -> Iterator[tuple[str, str]]:
    """Yield what a job comes to, as heading and text."""
    shards, model = plan.shards, plan.config.model
    columns = ", ".join(f"{ours}={theirs}" for ours, theirs in shards.columns.items())
    yield "Configuration", f"{plan.config.name}, fingerprint {plan.fingerprint}"
    yield "Input", f"{plan.records:,} records in {len(shards.files)} shards{_read_by(plan)}"
    yield "Columns", columns
    if not plan.readers:
        yield "Gold", sampled.gold.told()
    revision = f" at {model.revision[:12]}" if model.revision else ""
    yield "Model", f"{model.source}{revision}, sha256 {plan.model_sha256[:16]}"
    if plan.quantization:
        yield "Quantisation", str(plan.quantization)
    for variant in plan.variants:
        yield "Variant", _variant_line(variant)
        yield "Asked", _asked_line(variant, len(plan.labels))
    if route := plan.config.route:
        told = f"{100 * route.share:g}% of the opinions to {route.candidate}"
        yield "Route", f"{told}, the others to {route.fallback}"
    for name, tokens in measured.tokens.items():
        total = tokens * plan.records * _part(plan, name)
        yield "Prompt tokens", f"{name}: {tokens:.0f} a record, about {total:,.0f} in all"
    found = ", ".join(f"{count} {reason}" for reason, count in measured.quarantined.items())
    yield "Quarantine", f"of {measured.records} records that were looked at: {found or 'none'}"
    yield from _copies(plan)
    for caution in cautions(plan, sampled):
        yield "Warning", caution
    for message in (*(bad.message for bad in shards.bad), *sampled.damaged):
        yield "Bad shard", message
    if shards.passed_over:
        yield "Passed over", _passed_over(shards.passed_over)
    yield from _cluster(plan.config, here)


def _copies(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield how often an input with gold has one text under several ids, or near-duplicates."""
    if not has_gold(plan.shards.columns, plan.shards.labels):
        return
    tables, every = first_rows(plan.shards, plan.sample)
    found = same_texts(tables, plan.shards)
    of = "" if every else f"of the first {len(found.opinions):,} opinions with gold: "
    told = f"none of {LEAST} characters or more stands under several opinion ids"
    if found.texts:
        told = (
            f"{found.texts:,} of {LEAST} characters or more stand under several opinion ids, "
            f"{found.under:,} in all; the gold of {found.differing:,} of them differs between these"
        )
    yield "Same texts", f"{of}{told}"
    if plan.config.statistics.cluster == "near_duplicates":
        texts = (texts_among(table, found.opinions) for table in tables)
        groups = [each for each in grouped(texts) if len(each) > 1]
        yield (
            "Near-duplicates",
            f"{of}{sum(map(len, groups)):,} of {len(found.opinions):,} opinions with gold, in "
            f"{len(groups):,} clusters for intervals and tests",
        )


def _passed_over(paths: Sequence[str]) -> str:
    named = some_of([*map(shown, paths)], _MOST_NAMED)
    return f"{len(paths):,} files that are no shards by their names: {named}"


def _cluster(config: JobConfig, here: bool) -> Iterator[tuple[str, str]]:
    try:
        capacity = check_cluster(config)
    except ConfigError as error:
        if here:
            raise
        if getattr(config.engine, "device", "cpu") != "auto":  # else that cluster's GPUs decide
            yield "Engines", occupancy(config, Capacity(0, 0, 0))
        yield "Cluster", f"not this one: {error}"
        return
    yield "Engines", occupancy(config, capacity)
    held, most = engines_held(config, capacity), config.engine.replicas.max
    short = f", for {held} of at most {most} engines now" if held < most else ""
    yield "Cluster", f"{capacity}: enough{short}"


def _read_by(plan: Plan) -> str:
    told = [f", each row read by {len(plan.readers)} personas"] if plan.readers else []
    if plan.sample is not None:
        told.append(f", a part of {plan.shards.rows:,} rows")
    return "".join(told)


def _part(plan: Plan, variant: str) -> float:
    """Return the part of the records that a variant is asked about, as far as is known before."""
    route = plan.config.route
    if route is None:
        return 1.0
    return route.share if variant == route.candidate else 1.0 - route.share


def _variant_line(variant: Variant) -> str:
    adapter = variant.adapter
    weights = "base model"
    if adapter:
        how = (
            "fits"
            if adapter.binding.sized
            else "fits by its modules' names (sizes are not known here)"
        )
        weights = (
            f"adapter of rank {adapter.rank} {how}, trained on {adapter.binding.trained_on}, "
            f"sha256 {adapter.sha256[:16]}"
        )
    elif variant.adapter_sha256:
        weights = f"adapter in the model, sha256 {variant.adapter_sha256[:16]}"
    thresholds = variant.settings.thresholds or "0.5 for every label"
    return f"{variant.name}: {variant.settings.method}, {weights}; thresholds {thresholds}"


def _asked_line(variant: Variant, labels: int) -> str:
    answer = f"; answer: {answer_words(variant, labels)}" if variant.answer else ""
    return f"{variant.name}: {prompt_words(variant)}{answer}"


def _measure(plan: Plan, sampled: Sampled) -> Measured:
    tokens: dict[str, float] = {}
    reasons = Counter(row["reason"] for row in sampled.rows if row["reason"])
    too_long: set[int] = set()
    for variant in plan.variants:
        method, prompter = variant.bind(sampled.tokenizer, plan.personas, plan.labels)
        longest = plan.config.model.max_model_len - method.room
        asked = [(row["text"], row["language"], row["persona"]) for row in sampled.good]
        lengths = [len(prompt) for prompt in prompter.prompts(asked)]
        tokens[variant.name] = sum(lengths) / max(1, len(lengths))
        too_long |= {i for i, length in enumerate(lengths) if length > longest}
    if too_long:
        reasons[Reason.TOO_LONG] += len(too_long)
    return Measured(len(sampled.rows), dict(reasons), tokens)
