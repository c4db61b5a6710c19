"""The verdict on a candidate: ship, block, or cannot tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from medsent.config.job import StatisticsSettings
from medsent.metrics.estimate import Figure, Part

Decision: TypeAlias = Literal["ship", "block", "cannot_tell"]


def decide(low: Figure, high: Figure, margin: float) -> Decision:
    """Return what the interval of a difference, candidate less baseline, says.

    `ship` where the whole of it lies above minus the margin: the candidate is no worse than
    that (non-inferior), or better. `block` where the whole of it lies below. `cannot_tell` where
    it does neither, or where there is none.
    """
    if low is None or high is None:
        return "cannot_tell"
    if low >= -margin:
        return "ship"
    return "block" if high < -margin else "cannot_tell"


@dataclass(frozen=True)
class Margins:
    """By how much a candidate may be worse."""

    overall: float
    """In macro F1, and in the share of usable answers."""
    label: float | None = None
    """In F1 of each label that has no margin of its own; None: such labels are not asked about."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """In F1 of the labels that have to be shown to be as good."""

    @classmethod
    def of(cls, settings: StatisticsSettings) -> "Margins":
        """Return those that a job names."""
        return cls(settings.margin, settings.label_margin, settings.label_margins)

    def of_label(self, name: str) -> float | None:
        """Return the margin of a label; None where it is not asked about."""
        return self.labels.get(name, self.label)


class Judged(Part):
    """What is said of one figure."""

    decision: Decision
    """By the interval."""
    margin: float
    """How much lower the candidate's figure may be."""
    low: Figure = None
    """Lower end of the interval that decides; for a label, of the one that holds for all labels at
    once. Where the two disagree on few opinions, it is lower than that of the difference. Where
    they disagree on too few for an interval, it is minus the bound on how far apart they are."""
    high: Figure = None
    """Upper end."""
    opinions_needed: int | None = None
    """Where it cannot be told: about how many opinions like these would tell, in 4 of 5 runs, if
    the two were equally good or, where there are that many already, as far apart as observed."""
    opinions_needed_low: int | None = None
    """Lower end of where that lies, which is estimated from these data."""
    opinions_needed_high: int | None = None
    """Upper end."""

    @property
    def lower(self) -> bool:
        """Whether the candidate is worse beyond chance, and perhaps by more than the margin."""
        return self.decision == "cannot_tell" and self.high is not None and self.high < 0


class Verdict(Part):
    """Whether a candidate may take its baseline's place.

    `block` where macro F1, the share of usable answers or a label blocks. Else `ship` where macro
    F1 does, as does each label with a margin of its own, and nothing else is worse beyond
    chance and perhaps by more than its margin. Else `cannot_tell`.
    """

    decision: Decision
    better: bool
    """Whether the whole interval of macro F1 lies above zero."""
    macro_f1: Judged
    """Over the labels with enough opinions."""
    usable_answers: Judged
    """The share of records with a usable answer."""
    labels: dict[str, Judged]
    """F1 of the labels that have a margin."""
    blocking: list[str]
    """The labels that block."""
    undecided: list[str]
    """The labels that keep the candidate from being shipped, and do not block."""
    opinions_needed: int | None = None
    """Where it cannot be told: the most that any of the figures in question needs."""
    opinions_needed_low: int | None = None
    """Lower end of where that lies."""
    opinions_needed_high: int | None = None
    """Upper end."""
    collect: list[str] = []
    """Where it cannot be told: the labels to collect opinions with. They make up at least half of
    the variance of macro F1's difference, or have a margin of their own."""
