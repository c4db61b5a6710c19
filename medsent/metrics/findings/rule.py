"""A rule: its name, where what it finds belongs, how it decides, and what it says."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from medsent.metrics.model import Finding, FindingSection, Metrics


@dataclass(frozen=True)
class Said:
    """What a rule says, without the rule's own name and place."""

    text: str
    numbers: dict[str, int | float | None]
    variants: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    slices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rule:
    """One rule; it finds nothing where its condition does not hold."""

    name: str
    section: FindingSection
    decides: str
    """How it decides, for the report's definitions."""
    says: Callable[[Metrics], Iterable[Said]]

    def findings(self, metrics: Metrics) -> Iterator[Finding]:
        """Yield what the rule finds in these numbers."""
        for said in self.says(metrics):
            yield Finding(section=self.section, rule=self.name, **vars(said))
