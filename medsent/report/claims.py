"""What the rules found, as claims under the titles of their sections."""

from collections.abc import Iterator, Mapping
from typing import Final

from medsent.metrics.findings.catalogue import RULES
from medsent.metrics.format import MINUS, UNDEFINED, p_value
from medsent.metrics.model import Finding, FindingSection, Metrics
from medsent.report.document import Claim, Claims

_TITLES: Final[Mapping[FindingSection, str]] = {
    "key_findings": "Key findings",
    "standouts": "Standouts",
    "areas_for_attention": "Areas for attention",
    "recommendations": "Recommendations",
    "trade_offs": "Trade-offs",
}
"""The sections of findings, in order."""
_DECIDES: Final = {rule.name: rule.decides for rule in RULES}
_NUMBERS: Final = 9
"""So many numbers of a finding are shown."""
_P: Final = ("p", "p_corrected", "largest_p_corrected", "precision_p", "recall_p")
"""The names of p-values, besides `p_corrected_LABEL`: other names end in a label's, as `ece_p`."""


def findings(metrics: Metrics) -> Iterator[Claims]:
    """Yield the claims of each section that has any."""
    for section, title in _TITLES.items():
        found = [_claim(each) for each in metrics.findings if each.section == section]
        if found:
            yield Claims(title, found)


def _claim(finding: Finding) -> Claim:
    numbers = [(name, _number(name, value)) for name, value in finding.numbers.items()]
    return Claim(
        finding.text,
        finding.rule,
        _DECIDES[finding.rule],
        numbers[:_NUMBERS],
        left=max(0, len(numbers) - _NUMBERS),
    )


def _number(name: str, value: int | float | None) -> str:
    if value is None:
        return UNDEFINED
    if name in _P or name.startswith("p_corrected_"):
        return p_value(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.3g}".replace("-", MINUS)
