"""What each figure of a report means, in words a reader without statistics can follow."""

from typing import Final

from medsent.metrics.findings.catalogue import OF_REPEATS, RULES
from medsent.metrics.format import counted
from medsent.report.document import Term

FEW_POSITIVES: Final = 10
"""A label with fewer gold positives than this is marked: one record moves its F1 by points."""

_FIGURES: Final[tuple[Term, ...]] = (
    Term(
        "gold",
        "Gold, positives, support",
        "The gold label is what the record's own annotation says; it may be missing, and is then "
        "left out. Positives (support) are the records whose gold label is yes and that were "
        "answered.",
    ),
    Term("prevalence", "Prevalence", "Positives divided by the records compared for that label."),
    Term(
        "precision",
        "Precision",
        "Of the records given the label, the share that has it in gold: TP / (TP + FP). "
        "Undefined where the label was never given.",
    ),
    Term(
        "recall",
        "Recall",
        "Of the records that have the label in gold, the share given it: TP / (TP + FN). "
        "Undefined where no gold record has it.",
    ),
    Term(
        "f1",
        "F1",
        "The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN). Undefined where no "
        "record has the label, in gold or as given; that is neither a success nor a failure.",
    ),
    Term(
        "accuracy",
        "Accuracy",
        "The share of records where the label is right, yes or no: (TP + TN) / all. High for any "
        "rare label, even if it is never given. The overall accuracy is the mean over the labels.",
    ),
    Term(
        "macro",
        "Macro average",
        "The mean over the labels, each counting the same however rare. Labels for which the "
        "figure is undefined are left out and named; the same average with undefined counted as "
        "0 and as 1 stands beside it. The macro F1 is the mean of F1s, so it need not lie between "
        "the macro precision and the macro recall.",
    ),
    Term(
        "micro",
        "Micro average",
        "From TP, FP and FN summed over the labels, so frequent labels count for more.",
    ),
    Term(
        "weighted",
        "Weighted average",
        "The mean over the labels where the figure is defined, weighted by their positives.",
    ),
    Term(
        "samples",
        "Samples average",
        "Computed for each record over its labels, then averaged over records where defined.",
    ),
    Term(
        "hamming",
        "Hamming accuracy",
        "The share of all single decisions (a label of a record) that are right.",
    ),
    Term("subset", "Subset accuracy", "The share of records with every label right at once."),
    Term(
        "success",
        "Generation success rate",
        "The share of scored records for which the model gave a usable answer. An unusable answer "
        "is counted here and left out of every other figure; it is never turned into noes.",
    ),
    Term(
        "difference",
        "Difference",
        "Candidate minus baseline, in percentage points, from the exact figures; the last digit "
        "may therefore differ from what the rounded ones would give.",
    ),
    Term(
        "interval",
        "95% interval",
        "Where the true figure, for all opinions like these read by the same personas, likely "
        "lies: about 95 of 100 such intervals hold it. It is made from "
        "replicates of the run (a Poisson bootstrap) that weigh all records of an opinion alike. "
        "A figure for which the opinions are too few gets none; one marked rough, from 10 to 19 "
        "opinions, holds it in about 90 to 98 of 100.",
    ),
    Term(
        "p",
        "p",
        "How often a difference at least this large would come by chance, were there none: a "
        "t-test over opinions that agrees with the interval. Corrected: by Holm's method, for the "
        "number of labels, or of slices, that stand beside each other. Below 0.05 a difference is "
        "called one. Above, none was detected, which does not say that there is none.",
    ),
    Term(
        "mcnemar",
        "McNemar's p",
        "If both are right equally often: how often chance would divide the records that only one "
        "of them has right at least as unevenly. McNemar's exact test, not corrected. "
        "Only where each opinion has one record: several records of a text are not independent.",
    ),
    Term(
        "detectable",
        "Detectable difference",
        "The smallest true difference that data like these would show in 4 of 5 runs, at p below "
        "0.05 before correction. More opinions make it smaller, by the square root of their "
        "number. It is an estimate from these data.",
    ),
    Term(
        "supported",
        "Labels with enough opinions",
        "Those that at least 10 opinions have in gold. The others can move an average by chance "
        "alone, and an average over them has no interval.",
    ),
    Term(
        "relative",
        "Relative improvement",
        "The difference divided by the baseline's figure: (candidate − baseline) / baseline. "
        "A change from zero has none. From a low baseline it is large for small differences. Its "
        "interval is Fieller's, and holds 0 where that of the difference does.",
    ),
    Term(
        "average_precision",
        "Average precision",
        "How well the probabilities rank the records, for a label that is rare: the precision at "
        "the threshold of each record that has the label, averaged over those. Guessing gives the "
        "prevalence, a perfect ranking 1. No threshold is involved.",
    ),
    Term(
        "auroc",
        "AUROC",
        "The chance that a record with the label has a higher probability than one without it "
        "(the area under the ROC curve). Guessing gives 0.5, a perfect ranking 1; for rare labels "
        "it flatters.",
    ),
    Term(
        "brier",
        "Brier score",
        "The mean squared difference between the probability and the gold label, 1 or 0. Lower is "
        "better; always giving the prevalence p scores p (1 − p).",
    ),
    Term(
        "ece",
        "ECE",
        "Expected calibration error: the distance between mean probability and share of records "
        "with the label, averaged over ten bins of probability by their records. 0 is best; it "
        "says nothing of how well the probabilities rank.",
    ),
    Term(
        "reliability",
        "Reliability curve",
        "For the records whose probability lies in one tenth of the scale: how often the label is "
        "in gold, over the mean probability given. Below the diagonal the probabilities are too "
        "high, above it too low.",
    ),
    Term(
        "threshold_curve",
        "Threshold curve",
        "Precision, recall and F1 if the label were given to every record whose probability is at "
        "least the threshold. The command medsent thresholds chooses them on a validation run.",
    ),
    Term(
        "rates",
        "Rates and busy time",
        "Records or tokens divided by the time a replica was busy with this variant. Time with "
        "several variants in flight is divided among them by how many records of each finished. "
        "Start-up and idle time are not in it. These are rates of one replica, not of a cluster.",
    ),
    Term(
        "latency",
        "Latency",
        "The time from sending a record to its answer, waiting in the engine's queue included. "
        "p95: 95 of 100 records took no longer. Many records are in flight at once, so latency is "
        "far more than one divided by the rate.",
    ),
    Term(
        "tokens",
        "Tokens",
        "Uncached prompt tokens were computed, cached ones were found in the prefix cache because "
        "an earlier record began with the same words, output tokens were generated.",
    ),
    Term(
        "quarantined",
        "Quarantined",
        "A record that could not be scored (empty text, unknown persona, ...), kept with its "
        "reason. Input = scored + quarantined.",
    ),
    Term(
        "rules",
        "Findings and rules",
        "Each finding is made by a rule that decides by a test or a bound, not by a reader's "
        "judgement. The rules follow; one whose condition does not hold says nothing.",
    ),
)


_VERDICT: Final = Term(
    "verdict",
    "Verdict",
    "Of a candidate beside its baseline. Block: the whole interval of a difference lies below "
    "minus its margin, in macro F1, in the share of usable answers or in F1 of a label, corrected "
    "over the labels. Ship: that of macro F1 lies above minus its margin, as does that of each "
    "label with a margin of its own, and nothing else is worse beyond chance and perhaps by more "
    "than its margin. Else: cannot tell. Variants that disagree on fewer than 7 opinions are "
    "judged by how far the figure could be moved by as many opinions as they may disagree on; "
    "those that never disagree are shipped.",
)
_COST: Final = Term(
    "cost",
    "Cost",
    "What a million records cost by the job's price, at the pace of this run while it scored: the "
    "engines' start, and time in which they wait for work, are not in it. Shared time is that in "
    "which records of several variants finished together. It is divided among them by the tokens "
    "computed for these records, which is an estimate: every token is taken to cost the same. The "
    "interval tells how the pace varied within the run, not how another day or machine would "
    "differ. Beside the best: whether the whole interval of the paired difference in macro F1, "
    "over the labels with enough opinions, lies above minus the margin (statistics.margin). Energy "
    "is that of the GPUs alone, at their mean power over the run.",
)


_REPEATS: Final = Term(
    "repeats",
    "Repeats, flips",
    "The same records were asked again by the same job. An engine answers many requests in one "
    "batch, and which requests share one differs from one time to the next; so does the rounding "
    "of its numbers, and a label that was close may flip. A figure moves by its highest value less "
    "its lowest over these times; the difference of two figures by as much as both move, added up. "
    "A difference that is not larger than that may come from the batches alone. An interval does "
    "not show this: it covers the choice of opinions, not that of batches. If the records are "
    "asked only a few times, chance alone can exceed it: of differences that batches alone made, "
    "17 to 35% are larger with 2 times, under 5% with 4.",
)


def definitions(
    labels: int, *, priced: bool = False, judged: bool = False, repeated: bool = False
) -> list[Term]:
    """Return the terms of a report on so many labels: figures, then the rules of findings."""
    which = f"each of the {counted(labels, 'label')}" if labels > 1 else "the label"
    record = Term(
        "record",
        "Record",
        "One opinion as read by one persona: the unit that is scored and counted. Each record "
        f"carries a yes or no for {which}.",
    )
    rules = [
        Term(f"rule-{rule.name}", f"Rule {rule.name}", rule.decides)
        for rule in RULES
        if repeated or rule.name not in OF_REPEATS
    ]
    verdict = [_VERDICT] if judged else []
    asked = [term for term, wanted in ((_COST, priced), (_REPEATS, repeated)) if wanted]
    return [record, *verdict, *_FIGURES, *asked, *rules]
