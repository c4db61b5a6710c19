"""All rules, in the order of the report, each with how it decides."""

from typing import Final

from medsent.metrics.findings import advice, attention, compared, repeats, support, tradeoffs
from medsent.metrics.findings.bounds import (
    BELIEVABLE,
    CALIBRATED,
    FEWEST_OPINIONS,
    HALF,
    QUARANTINED,
    SPEED,
    STANDOUTS,
    TESTED,
    USABLE,
    VISIBLE,
    WANTED,
)
from medsent.metrics.findings.rule import Rule
from medsent.metrics.findings.support import has_replicates
from medsent.metrics.model import Finding, Metrics
from medsent.metrics.statistics.changes import FEW_DISAGREEING

_AT_ONCE: Final = "The interval is widened for the number of figures beside it (Bonferroni)."

OF_REPEATS: Final = ("asked_again", "within_repeats")
"""The rules that only a run with repeats has a use for."""
_WITHOUT_TESTS: Final = ("untested", *OF_REPEATS, "quarantine")
"""The rules that need no replicates: that there are none, and counts."""

RULES: Final = (
    Rule(
        "untested",
        "key_findings",
        "Holds where the run has no replicates. No rule that needs an interval or a test then says "
        "anything.",
        support.untested,
    ),
    Rule(
        "overall_change",
        "key_findings",
        "Higher or lower where p of the difference in macro F1 is below 0.05, over the labels with "
        "enough opinions where others have too few; else no difference was detected. Always "
        "stated.",
        compared.overall_change,
    ),
    Rule(
        "macro_alone",
        "key_findings",
        "States each variant's macro F1 with its interval where the run compares nothing.",
        compared.macro_alone,
    ),
    Rule(
        "labels_higher",
        "key_findings",
        "The labels whose F1 is higher with a corrected p below 0.05.",
        compared.labels_higher,
    ),
    Rule(
        "labels_lower",
        "key_findings",
        "The labels whose F1 is lower with a corrected p below 0.05.",
        compared.labels_lower,
    ),
    Rule(
        "labels_undecided",
        "key_findings",
        "The labels that were tested and whose corrected p is 0.05 or more.",
        compared.labels_undecided,
    ),
    Rule(
        "asked_again",
        "key_findings",
        "States what asking the same records again changed, where the run has repeats.",
        repeats.asked_again,
    ),
    Rule(
        "standout_gain",
        "standouts",
        "A label that is higher with a corrected p below 0.05, and whose difference has its lower "
        "end above the upper end of the difference in macro F1. At most "
        f"{STANDOUTS}, the largest first.",
        compared.standout_gain,
    ),
    Rule(
        "standout_loss",
        "standouts",
        "A label that is lower with a corrected p below 0.05, and whose difference has its upper "
        "end below the lower end of the difference in macro F1. At most "
        f"{STANDOUTS}, the largest first.",
        compared.standout_loss,
    ),
    Rule(
        "too_few_to_tell",
        "areas_for_attention",
        f"The labels that fewer than {FEWEST_OPINIONS} opinions have in gold.",
        support.too_few_to_tell,
    ),
    Rule(
        "too_few_disagreements",
        "areas_for_attention",
        "The labels that enough opinions have, but where one variant is right and the other wrong "
        f"on fewer than {FEW_DISAGREEING} opinions.",
        support.too_few_disagreements,
    ),
    Rule(
        "no_variation",
        "areas_for_attention",
        "The labels with enough opinions and disagreements whose difference has no test: it is the "
        f"same in each replicate, or its opinions weigh like fewer than {FEWEST_OPINIONS}.",
        support.no_variation,
    ),
    Rule(
        "detectable",
        "areas_for_attention",
        f"The tested labels whose detectable difference is over {100 * VISIBLE:.0f} points, before "
        "correction for the number of labels.",
        support.detectable,
    ),
    Rule(
        "within_repeats",
        "areas_for_attention",
        "A difference, on the records that the run and each repeat have scored, that is not larger "
        "than what the two figures moved by over these times, added up.",
        repeats.within_repeats,
    ),
    Rule(
        "answers_unusable",
        "areas_for_attention",
        f"A generation success rate below {100 * USABLE:.0f}% on these records; the interval says "
        "whether chance would give that.",
        attention.answers_unusable,
    ),
    Rule(
        "low_recall",
        "areas_for_attention",
        f"The labels whose recall has the upper end of its interval below {100 * HALF:.0f}%, for "
        f"the candidate, or for all variants where nothing is compared. {_AT_ONCE}",
        attention.low_recall,
    ),
    Rule(
        "low_precision",
        "areas_for_attention",
        f"The labels whose precision has the upper end of its interval below {100 * HALF:.0f}%, "
        f"for the candidate, or for all variants where nothing is compared. {_AT_ONCE}",
        attention.low_precision,
    ),
    Rule(
        "miscalibrated",
        "areas_for_attention",
        f"The labels with an expected calibration error over {BELIEVABLE:.2f}, on {CALIBRATED} "
        "records or more. It has no interval.",
        attention.miscalibrated,
    ),
    Rule(
        "slice_against",
        "areas_for_attention",
        "A slice whose difference in macro F1 has a corrected p below 0.05 and the other sign than "
        "that of all records, which has a p below 0.05.",
        attention.slice_against,
    ),
    Rule(
        "slice_behind",
        "areas_for_attention",
        "A slice whose macro F1, over the labels with enough opinions in it, has its interval "
        f"below the mean of the same labels on all records. {_AT_ONCE}",
        attention.slice_behind,
    ),
    Rule(
        "quarantine",
        "areas_for_attention",
        f"Over {100 * QUARANTINED:.0f}% of the input was quarantined: a count, which needs no "
        "interval.",
        attention.quarantine,
    ),
    Rule(
        "roll_out",
        "recommendations",
        "The verdict is to ship, and macro F1 is higher with p below 0.05; no label, no slice and "
        "not the share of usable answers is lower by its test; and at least "
        f"{100 * TESTED:.0f}% of the labels could be tested.",
        advice.roll_out,
    ),
    Rule(
        "too_early",
        "recommendations",
        f"As roll_out, but fewer than {100 * TESTED:.0f}% of the labels could be tested.",
        advice.too_early,
    ),
    Rule(
        "as_good",
        "recommendations",
        "The verdict is to ship, and macro F1 is not higher with p below 0.05.",
        advice.as_good,
    ),
    Rule(
        "no_ground",
        "recommendations",
        "The verdict is not to ship, and macro F1 is not higher with p below 0.05.",
        advice.no_ground,
    ),
    Rule(
        "keep_baseline",
        "recommendations",
        "There are labels that labels_lower names.",
        advice.keep_baseline,
    ),
    Rule(
        "tune_thresholds",
        "recommendations",
        "The labels for which the best F1 of the threshold curve is above the interval of the F1 "
        f"in use. {_AT_ONCE}",
        advice.tune_thresholds,
    ),
    Rule(
        "collect_more",
        "recommendations",
        "There are labels that too_few_to_tell names and that occur. Records needed: those "
        f"compared, times {FEWEST_OPINIONS}, divided by the number of opinions with the rarest "
        "label plus one, since it is the rarest partly by chance. The range holds the true number "
        "in 4 of 5 runs.",
        advice.collect_more,
    ),
    Rule(
        "enough_data",
        "recommendations",
        f"The tested labels whose detectable difference is over {100 * WANTED:.0f} points. Records "
        f"needed: those compared, times the square of that difference over {WANTED:.2f}. Each "
        "label's number has a range; the one stated goes from the highest lower end to the highest "
        "upper end. In about 9 of 10 simulated runs it held the true number.",
        support.enough_data,
    ),
    Rule(
        "speed_against_f1",
        "trade_offs",
        f"The times per record differ by more than {100 * (SPEED - 1):.0f}%, each variant's mostly "
        "its own, not shared with others in flight; and macro F1 has a test.",
        tradeoffs.speed_against_f1,
    ),
    Rule(
        "precision_against_recall",
        "trade_offs",
        "One of macro precision and macro recall is higher and the other lower, each with p below "
        "0.05; of the micro averages where the macro ones say nothing.",
        tradeoffs.precision_against_recall,
    ),
)
"""In this order, each with how it decides."""


def find(metrics: Metrics) -> list[Finding]:
    """Return what the rules find in the numbers, in the rules' order."""
    tested = has_replicates(metrics)
    rules = [rule for rule in RULES if tested or rule.name in _WITHOUT_TESTS]
    return [finding for rule in rules for finding in rule.findings(metrics)]
