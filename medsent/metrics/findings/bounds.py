"""The bounds by which rules decide, and why they are where they are."""

from typing import Final

from medsent.metrics.statistics.estimates import FEW_OPINIONS

FEWEST_OPINIONS: Final = FEW_OPINIONS
"""Opinions that a label needs for an interval: with fewer, simulated intervals do not cover."""

USABLE: Final = 0.99
"""Share of usable answers. An answer that cannot be used is missing from every figure. If one in a
hundred is missing, the effect is smaller than the width of the intervals in such a run."""

HALF: Final = 0.5
"""Recall and precision. Below it a record with the label is missed more often than found, or a
label that was given is wrong more often than right."""

VISIBLE: Final = 0.10
"""A detectable difference. One of ten points is what a reader sees without statistics: data
that could miss it say nothing about smaller ones."""

WANTED: Final = 0.05
"""The difference that a larger run should be able to show: half of `VISIBLE`."""

BELIEVABLE: Final = 0.10
"""Expected calibration error. Beyond it a probability of 0.8 may stand for a rate of 0.7 or 0.9,
so a threshold on it cannot be read as a rate."""

CALIBRATED: Final = 200
"""Records with gold and a probability. With fewer, ten bins hold 20 records each or less, whose
rates differ from the probabilities by nearly `BELIEVABLE` from chance alone."""

QUARANTINED: Final = 0.01
"""Share of the input. Records that cannot be scored are seldom a random choice: with more than
one in a hundred gone, what is left need not stand for the input."""

SPEED: Final = 1.1
"""Ratio of two times per record. Rates have no interval; on a machine that does other work too,
the same job differs by some percent from run to run."""

TESTED: Final = 0.5
"""Share of labels with a test. That no label was found to be lower is no reassurance where most
of them could not have been found to be."""

STANDOUTS: Final = 5
"""So many labels are named as standing out: what all labels do is in their table."""
