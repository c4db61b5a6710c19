"""The model of `metrics.json`: every number of a report, with its unit in its name.

An undefined figure is None (null in JSON), never zero. Rates, averages and relative
improvements are fractions, not percent. Rows are records: one opinion read by one persona.
"""

from collections.abc import Sized
from typing import Final, Literal, TypeAlias

from pydantic import Field, JsonValue, ValidationError

from medsent.errors import RunError
from medsent.metrics.calibration import Calibration
from medsent.metrics.cost import Cheapest, Cost, CostChange
from medsent.metrics.estimate import Estimated, Figure, Part, is_none
from medsent.metrics.repeats import Repeats
from medsent.metrics.statistics.comparisons import ChangeKind
from medsent.metrics.throughput import VariantThroughput
from medsent.metrics.verdict import Verdict
from medsent.storage.paths import AnyPath

SCHEMA_VERSION: Final = 2


def _is_empty(value: Sized) -> bool:
    return not value


class Run(Part):
    """Which run this is."""

    name: str
    """The configuration's `name`."""
    fingerprint: str
    """Hash of what changes a prediction; the run folder is `<name>-<fingerprint>`."""
    note: str | None = None
    """A line to show beside every figure, such as that the data is synthetic."""


class Records(Part):
    """What became of the input rows: input = scored + quarantined."""

    input: int
    """Records asked for: rows of the input, times the personas where these are fanned out."""
    scored: int
    """Records that were sent to every variant, or to one by a route, whatever came back."""
    quarantined: int
    """Records that were not scored."""
    by_reason: dict[str, int]
    """Quarantined records by reason, most frequent first."""
    duplicate_record_ids: int | None = None
    """Records whose `record_id` an earlier one has; None where they were not counted."""


class LabelMetrics(Part):
    """One label. tp + fp + fn + tn + missing + unanswered = rows scored."""

    tp: int
    """Gold 1, predicted 1."""
    fp: int
    """Gold 0, predicted 1."""
    fn: int
    """Gold 1, predicted 0."""
    tn: int
    """Gold 0, predicted 0."""
    missing: int
    """Rows with no gold for this label, whatever was predicted."""
    unanswered: int
    """Rows with gold but no usable prediction; in none of the four counts."""
    support: int
    """Gold positives with a prediction: tp + fn."""
    opinions: int | None = None
    """Opinions with such a positive, 64 for 64 or more; None where there are no replicates."""
    precision: Estimated
    """tp / (tp + fp)."""
    recall: Estimated
    """tp / (tp + fn)."""
    f1: Estimated
    """2 tp / (2 tp + fp + fn)."""
    accuracy: Estimated
    """(tp + tn) / (tp + fp + fn + tn)."""
    specificity: Estimated
    """tn / (tn + fp)."""
    mcc: Figure
    """Matthews correlation; None where a row or column of the 2 x 2 table is empty."""
    prevalence: Estimated
    """(tp + fn) / (tp + fp + fn + tn)."""
    predicted_rate: Estimated
    """Share predicted 1 of all usable predictions, those on rows without gold included."""


class OverallMetrics(Part):
    """Averages over labels, cells (a row's label) and rows.

    Only cells with gold and a usable prediction count; a row counts in the averages over
    rows with the cells it has, and not at all where it has none.
    """

    rows: int
    """Rows scored."""
    answered_rows: int
    """Rows whose status is `ok`."""
    evaluated_rows: int
    """Rows with at least one label that has gold and a usable prediction."""
    generation_success_rate: Estimated
    """answered_rows / rows."""
    accuracy: Estimated
    """Mean of the labels' accuracies."""
    macro_f1: Estimated
    """Mean over the labels where it is defined; `left_out` names the others."""
    macro_precision: Estimated
    """Mean over the labels where it is defined."""
    macro_recall: Estimated
    """Mean over the labels where it is defined."""
    macro_f1_supported: Estimated
    """Mean over the labels that enough opinions have in gold; `supported_labels` names them."""
    supported_labels: list[str]
    """Labels with at least 10 such opinions; empty where there are no replicates."""
    macro_f1_undefined_as_0: Figure
    """Mean over all labels, undefined counted as 0."""
    macro_precision_undefined_as_0: Figure
    """Mean over all labels, undefined counted as 0."""
    macro_recall_undefined_as_0: Figure
    """Mean over all labels, undefined counted as 0."""
    macro_f1_undefined_as_1: Figure
    """Mean over all labels, undefined counted as 1."""
    macro_precision_undefined_as_1: Figure
    """Mean over all labels, undefined counted as 1."""
    macro_recall_undefined_as_1: Figure
    """Mean over all labels, undefined counted as 1."""
    left_out: dict[Literal["f1", "precision", "recall"], list[str]]
    """The labels that the macro average of each leaves out, in the labels' order."""
    micro_f1: Estimated
    """From the counts summed over labels."""
    micro_precision: Estimated
    """From the counts summed over labels."""
    micro_recall: Estimated
    """From the counts summed over labels."""
    weighted_f1: Estimated
    """Mean weighted by support, over the labels where it is defined."""
    weighted_precision: Estimated
    """Mean weighted by support, over the labels where it is defined."""
    weighted_recall: Estimated
    """Mean weighted by support, over the labels where it is defined."""
    samples_f1: Estimated
    """Mean over the rows where it is defined, each row's F1 over its labels."""
    samples_precision: Estimated
    """Mean over the rows with a predicted label."""
    samples_recall: Estimated
    """Mean over the rows with a gold label."""
    rows_without_positives: int
    """Evaluated rows with no label, gold or predicted: these have no F1 of their own."""
    hamming_accuracy: Estimated
    """Share of cells that are right."""
    subset_accuracy: Estimated
    """Share of evaluated rows with every cell right."""


class SliceMetrics(Part):
    """The figures of one variant on some rows."""

    overall: OverallMetrics
    """Averages."""
    labels: dict[str, LabelMetrics]
    """By label, in the labels' order."""
    answer_statuses: dict[str, int]
    """Rows by status: `ok` first, then why an answer could not be used."""


class VariantMetrics(SliceMetrics):
    """One variant on all rows, and on each slice."""

    slices: dict[str, SliceMetrics]
    """By `column=value`; a null value is `none`. Columns in configured order, values sorted."""
    thresholds: dict[str, float] | None = None
    """Thresholds applied to the stored probabilities; None: labels as stored."""
    throughput: VariantThroughput | None = None
    """Speed; None where nothing was timed."""
    cost: Cost | None = Field(None, exclude_if=is_none)
    """Of a million records; not there without a price."""
    repaired: int | None = Field(None, exclude_if=is_none)
    """Rows with a usable answer in broken JSON, which was repaired; not there where no answer was
    read as JSON that may be."""
    calibration: Calibration | None = None
    """How far its probabilities can be believed; None where it gives none, or without gold."""


class Change(Part):
    """A figure of the baseline and of the candidate, on the same records."""

    baseline: Figure
    """The baseline's figure."""
    candidate: Figure
    """The candidate's figure."""
    difference: Estimated
    """candidate - baseline."""
    relative: Estimated
    """difference / baseline, a fraction; None where undefined and from zero."""
    kind: ChangeKind
    """Its class."""
    p: Figure = None
    """Of a two-sided test of no difference, by opinions; it agrees with the interval."""
    p_corrected: Figure = None
    """The same by Holm's correction over the labels, or over a column's slices."""
    simultaneous: Estimated = None
    """The difference with the interval that holds for all labels, or a column's slices, at once
    (Bonferroni); None where the figure stands alone."""
    detectable: Figure = None
    """The smallest true difference that data like these show in 4 of 5 runs, at p below 0.05; None
    where they show none, or there is no test."""
    detectable_low: Figure = Field(None, exclude_if=is_none)
    """Lower end of where that lies, which is estimated from these data: in about 8 of 10 simulated
    runs the true one was within."""
    detectable_high: Figure = Field(None, exclude_if=is_none)
    """Upper end."""
    one_sided: Estimated = Field(None, exclude_if=is_none)
    """The difference with a lower and an upper one-sided bound, each of which holds for all labels,
    or a column's slices, at once: for questions in one direction, such as whether any is worse."""
    detectable_one_sided: Figure = Field(None, exclude_if=is_none)
    """How far a true difference must lie beyond a limit for a one-sided bound to show that in 4 of
    5 runs; None where no difference would be shown."""
    at_most: Figure = Field(None, exclude_if=is_none)
    """How far the difference can be from 0, where the two disagree on too few opinions for an
    interval; 0 where they never do. It holds with 95% certainty, for all labels at once."""
    mcnemar_p: Figure = None
    """McNemar's exact test of which is right more often; only with one record an opinion."""
    opinions: int | None = None
    """Of a label's change: opinions with the label in gold, 64 for 64 or more."""
    disagreeing: int | None = None
    """Of a label's change: opinions on which the two disagree, 64 for 64 or more."""


class Distribution(Part):
    """How many labels changed by how much; the parts add up to the number of labels."""

    over_50: int = 0
    """Relative improvement over 50%."""
    from_10_to_50: int = 0
    """From 10% to 50%, both included."""
    from_0_to_10: int = 0
    """Over 0% and under 10%."""
    unchanged: int = 0
    """No difference, zero to zero included."""
    worse: int = 0
    """The candidate's figure is lower."""
    from_zero: int = 0
    """The baseline's figure is zero, the candidate's is not."""
    undefined: int = 0
    """One of the two has no figure."""

    @property
    def higher(self) -> int:
        """Labels of which the candidate's figure is higher."""
        return self.over_50 + self.from_10_to_50 + self.from_0_to_10 + self.from_zero


class Comparison(Part):
    """A candidate against a baseline, on the records that both answered.

    The generation success rate is of all records.
    """

    baseline: str
    """The baseline's variant."""
    candidate: str
    """The candidate's variant."""
    records: int
    """Records that both answered."""
    overall: dict[str, Change]
    """By the name of an overall figure: macro_f1, macro_precision, accuracy, ..."""
    labels: dict[str, Change]
    """F1 by label, in the labels' order."""
    distribution: Distribution
    """The labels by class of change."""
    labels_left_out: dict[str, list[str]] = Field({}, exclude_if=_is_empty)
    """Labels that only one of the two has, by variant; such labels are compared nowhere."""
    slices: dict[str, Change]
    """Macro F1 by slice, over the labels with enough opinions in it (`macro_f1_supported`)."""
    cost: CostChange | None = Field(None, exclude_if=is_none)
    """Of a million records; not there without a price of both."""
    opinions: int | None = Field(None, exclude_if=is_none)
    """About how many opinions these records are of; exact up to 64, and where all have as many
    records."""
    verdict: Verdict | None = Field(None, exclude_if=is_none)
    """Whether the candidate may take the baseline's place; not there in older reports."""


FindingSection: TypeAlias = Literal[
    "key_findings", "standouts", "areas_for_attention", "recommendations", "trade_offs"
]


class Finding(Part):
    """What a named rule says of the numbers."""

    section: FindingSection
    """Where it stands in the report."""
    rule: str
    """The rule's name; the report's definitions say how it decides."""
    text: str
    """The finding in sentences, with its figures, intervals and support."""
    numbers: dict[str, int | float | None]
    """The numbers it rests on, exact, by name."""
    variants: list[str] = []
    """The variants it is about; of a comparison the baseline, then the candidate."""
    labels: list[str] = []
    """The labels it is about."""
    slices: list[str] = []
    """The slices it is about, as `column=value`."""


class Timing(Part):
    """Wall-clock time of the run, over its resumptions."""

    start_up_s: Figure = None
    """Until the first record was sent: engines, model, adapters."""
    scoring_s: Figure = None
    """From the first record sent to the last answer."""
    total_s: Figure = None
    """The whole command."""
    seconds_per_sample: Figure = None
    """scoring_s / records scored, all variants together."""


class Route(Part):
    """A staged roll-out: which of two variants the records asked."""

    candidate: str
    """The variant that is rolled out."""
    fallback: str
    """The variant of the other records, and of those that fell back."""
    share: Figure
    """Of the opinions that the candidate gets, as last configured; earlier records of a run
    that grows may have gone by another."""
    asked: int
    """Records that the candidate was asked about."""
    fell_back: int
    """Of these, records on which its answer could not be used, so that the fallback's counts."""


class Metrics(Part):
    """The whole of `metrics.json`."""

    schema_version: Literal[2] = SCHEMA_VERSION
    """Changes when a reader of the file would have to."""
    run: Run
    """Which run this is."""
    records: Records
    """What became of the input."""
    variants: dict[str, VariantMetrics]
    """By variant, in the order of the predictions' columns; of a route each on the records that
    it was asked about, and last `routed`: all records, by the answer that counts."""
    route: Route | None = None
    """Where each record asked one variant."""
    comparisons: list[Comparison]
    """In configured order."""
    cheapest: Cheapest | None = Field(None, exclude_if=is_none)
    """Which variant costs least and is as good as the best; not there without a price, or where
    the variants cannot be compared."""
    repeats: Repeats | None = Field(None, exclude_if=is_none)
    """What asking the same records again changed; not there where the run has no repeats."""
    findings: list[Finding] = []
    """What the rules found."""
    timing: Timing = Timing()
    """Wall-clock time."""
    provenance: dict[str, JsonValue]
    """What made the predictions: hashes, versions, input listing, machine."""

    @property
    def labels(self) -> list[str]:
        """The labels, in their order."""
        return list(next((variant.labels for variant in self.variants.values()), {}))

    def to_json(self) -> str:
        """Return the file's text: indented, keys in the model's order, a line end last."""
        return self.model_dump_json(indent=2) + "\n"


def read_metrics(path: AnyPath) -> Metrics:
    """Read a `metrics.json`; `RunError` where it is absent or not of this model."""
    try:
        return Metrics.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is not there; `medsent report` on its run makes it") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{path}: {where or 'the file'}: {first['msg']}; `medsent report` on its run remakes it"
        ) from None
