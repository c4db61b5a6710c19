"""How often a comparison is to be shipped, blocked or left open, by how good the candidate is.

Candidates of the second population: equal, nearly identical, worse by just the margin at every
label, or better. All their answers are usable, so that F1 alone decides.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from medsent.commands.nightly.verdict import decision_on
from medsent.labels import LABELS
from medsent.metrics.build import build_metrics
from medsent.metrics.model import Comparison, Run
from medsent.metrics.verdict import Margins
from medsent.reducer.state import Scope, reduce_batches
from tests.validation.multilevel import Multilevel
from tests.validation.population import MARGIN, VARIANTS, Scenario
from tests.validation.tally import Tallies, merge, tallies

SIZES: Final = (60, 150, 400, 1500, 3000)
SCENARIOS: Final[tuple[Scenario, ...]] = ("worse", "equal", "alike", "better")
DECISIONS: Final = ("ship", "block", "cannot_tell")
KINDS: Final = ("macro F1", "the whole", "the gate's macro F1")
ANY: Final = "any label"


@dataclass
class Decided:
    """What was decided in any number of samples."""

    tallies: Tallies = field(default_factory=tallies)
    """Of each decision: `kind: decision, scenario @ opinions`."""
    needed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """How many opinions were said to tell, `scenario @ opinions`."""

    def merge(self, other: "Decided") -> None:
        """Add those of other samples."""
        merge(self.tallies, other.tallies)
        for name, numbers in other.needed.items():
            self.needed[name] += numbers

    def share(self, kind: str, decision: str, at: str) -> float:
        """Return in how many of a hundred samples it was decided so."""
        return self.tallies[f"{kind}: {decision}, {at}"].share


def decided(scenario: Scenario, opinions: int, seed: int, replicates: int = 1000) -> Decided:
    """Draw one sample and count what is decided of it."""
    rng = np.random.default_rng([seed, opinions, 1, *scenario.encode()])
    rows = Multilevel.of(scenario).sample(opinions, 0, rng, unusable=0.0)
    scope = Scope.of(VARIANTS, LABELS, pairs=[VARIANTS], replicates=replicates, seed=seed)
    run = Run(name="sample", fingerprint="0")
    margins = Margins(MARGIN, MARGIN)
    built = build_metrics(reduce_batches([rows], scope), run=run, margins=margins)
    found, at = Decided(), f"{scenario} @ {opinions}"
    for kind, decision in _decisions(built.comparisons[0]):
        for each in DECISIONS:
            found.tallies[f"{kind}: {each}, {at}"].add(each in decision)
    verdict = built.comparisons[0].verdict
    assert verdict is not None
    if verdict.macro_f1.opinions_needed is not None:
        found.needed[at].append(verdict.macro_f1.opinions_needed)
    for tally in found.tallies.values():
        tally.close()
    return found


def _decisions(pair: Comparison) -> Iterator[tuple[str, set[str]]]:
    """Yield what each kind decides; of labels all that any of them does."""
    verdict = pair.verdict
    assert verdict is not None
    yield "macro F1", {verdict.macro_f1.decision}
    yield "the whole", {verdict.decision}
    yield "the gate's macro F1", {decision_on(pair.overall["macro_f1_supported"], MARGIN)}
    yield ANY, {each.decision for each in verdict.labels.values()}
