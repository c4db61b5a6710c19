"""What `gate.json` holds: a night's verdict, and each rule's ruling with its numbers."""

from collections.abc import Sequence
from datetime import date
from typing import Final, Literal, TypeAlias

from medsent.metrics.estimate import Figure, Part
from medsent.metrics.verdict import Decision

Against: TypeAlias = Literal["reference", "last_good"]
RulingStatus: TypeAlias = Literal["holds", "closes", "not_judged"]
RuleName: TypeAlias = Literal[
    "records",
    "labels",
    "macro_f1",
    "generation_success",
    "records_per_s",
    "quarantine",
    "label_rates",
    "input",
]

TITLES: Final[dict[RuleName, str]] = {
    "records": "Records",
    "labels": "F1 of each label",
    "macro_f1": "Macro F1",
    "generation_success": "Usable answers",
    "records_per_s": "Records per second",
    "quarantine": "Quarantined records",
    "label_rates": "Label rates",
    "input": "Input",
}
ANCHORS: Final[dict[Against, str]] = {
    "reference": "the reference",
    "last_good": "the last good night",
}


class Ruling(Part):
    """What one rule says of one thing."""

    rule: RuleName
    """The group of settings under `gate` or `gate.drift`."""
    status: RulingStatus
    """`not_judged` where the rule could not be asked; the message says why."""
    variant: str | None = None
    """Whose figure it is; None for one of the input."""
    subject: str | None = None
    """The label, or what of the input; None for an overall figure."""
    against: Against | None = None
    """What the figure is compared with; None for a figure that stands alone."""
    value: Figure = None
    """The figure: a difference (this night's less the other's), a share, a rate, an index."""
    low: Figure = None
    """Lower end of its interval, for a label corrected over the labels. For a difference judged by
    `labels`, `macro_f1` or `generation_success`, it is a one-sided bound."""
    high: Figure = None
    """Upper end."""
    limit: Figure = None
    """Where the gate closes."""
    visible: Figure = None
    """For such a difference: a true one this low closes the gate on 4 of 5 such nights."""
    message: str
    """The ruling in a sentence."""
    decision: Decision | None = None
    """For such a difference: whether it is shown to be within its limit, beyond it, or neither."""
    required: bool = False
    """Whether the night is shipped only if this difference is shown to be within its limit."""
    opinions_needed: int | None = None
    """Where that cannot be told: about how many opinions would tell, on 4 of 5 nights that are as
    good; None where it is not known, or the difference is near the limit."""


class Gate(Part):
    """One night's verdict."""

    schema_version: Literal[1] = 1
    """Changes when a reader of the file would have to."""
    name: str
    """The nightly job's name."""
    night: date
    """The date it is for."""
    run: str
    """The run's folder."""
    status: Literal["open", "closed"]
    """Closed where any rule closes."""
    decision: Decision | None = None
    """The verdict; None for a night of an earlier version without verdicts."""
    reference: str | None
    """The reference's run folder."""
    last_good: str | None
    """The run folder of the last open night before this one."""
    rules: list[Ruling]
    """Every ruling, in the rules' order."""

    @property
    def closing(self) -> list[Ruling]:
        """The rulings that close it."""
        return [ruling for ruling in self.rules if ruling.status == "closes"]

    @property
    def not_judged(self) -> list[Ruling]:
        """The rulings that could not be made."""
        return [ruling for ruling in self.rules if ruling.status == "not_judged"]

    def reasons(self) -> list[str]:
        """Return a sentence for each rule that closes it: its worst ruling, and the others' names.

        Nothing where it is open.
        """
        return [
            _reason([ruling for ruling in self.closing if ruling.rule == rule])
            for rule in dict.fromkeys(ruling.rule for ruling in self.closing)
        ]

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(indent=1) + "\n"


def _reason(rulings: Sequence[Ruling]) -> str:
    worst = max(rulings, key=_excess)
    others = dict.fromkeys(each.subject for each in rulings if each.subject != worst.subject)
    named = ", ".join(name for name in others if name)
    return f"{worst.rule}: {worst.message}{f' (and {named})' if named else ''}"


def _excess(ruling: Ruling) -> float:
    """By how much of its limit a figure is beyond it; a limit may hold for either direction."""
    value, limit = abs(ruling.value or 0.0), abs(ruling.limit or 0.0)
    return abs(value - limit) / limit if limit else value
