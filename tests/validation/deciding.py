"""How often a comparison is to be shipped, blocked or left open, by how good the candidate is.

Candidates of the second population: worse by just the margin at every label, in answers of their
own or in a few opinions alone (damaged), equal, nearly identical, or better. All their answers
are usable, so that F1 alone decides.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from medsent.config.labels import LABELS
from medsent.metrics.judgement import judge
from medsent.metrics.statistics.changes import SUPPORTED, Change, label_changes, supported_change
from medsent.metrics.statistics.estimates import Bounds
from medsent.metrics.statistics.replicates import SUCCESS
from medsent.metrics.verdict import Margins, Verdict, decide
from medsent.reducer.slices import ALL
from medsent.reducer.state import Scope, reduce_batches
from tests.validation.multilevel import Multilevel
from tests.validation.population import MARGIN, VARIANTS, Scenario
from tests.validation.tally import Tallies, merge, tallies

SIZES: Final = (60, 150, 400, 1500, 3000)
SCENARIOS: Final[tuple[Scenario, ...]] = ("worse", "damaged", "equal", "alike", "better")
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
    pair = reduce_batches([rows], scope).pairs[ALL][VARIANTS]
    labels = dict(zip(LABELS, label_changes(pair), strict=True))
    macro = supported_change(pair)
    answers = Change(1.0, 1.0, Bounds(0.0, 0.0), Bounds())
    overall = {SUPPORTED: macro, SUCCESS: answers}
    verdict = judge(overall, labels, Margins(MARGIN, MARGIN), pair)
    found, at = Decided(), f"{scenario} @ {opinions}"
    for kind, decision in _decisions(verdict, macro):
        for each in DECISIONS:
            found.tallies[f"{kind}: {each}, {at}"].add(each in decision)
    if verdict.macro_f1.opinions_needed is not None:
        found.needed[at].append(verdict.macro_f1.opinions_needed)
    for tally in found.tallies.values():
        tally.close()
    return found


def _decisions(verdict: Verdict, macro: Change) -> Iterator[tuple[str, set[str]]]:
    """Yield what each kind decides; of labels all that any of them does."""
    yield "macro F1", {verdict.macro_f1.decision}
    yield "the whole", {verdict.decision}
    if macro.one_sided is not None:
        yield "the gate's macro F1", {decide(macro.one_sided.low, macro.one_sided.high, MARGIN)}
    yield ANY, {each.decision for each in verdict.labels.values()}
