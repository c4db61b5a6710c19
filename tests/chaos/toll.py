"""The campaign's account: kills by kind, rows lost and doubled, resumes; as a Markdown table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.check import Verdict


@dataclass
class Toll:
    """Of one kind of kill."""

    kills: int = 0
    resumes: int = 0
    """Times the command had to be given again after such a kill."""
    lost: int = 0
    """Rows lost in the runs that had such a kill."""
    doubled: int = 0


@dataclass
class Account:
    """Of a campaign."""

    kinds: Iterable[str]
    by_kind: dict[str, Toll] = field(init=False)
    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)
    """What was wrong besides, with the run's folder."""
    ended: list[str] = field(default_factory=list)
    """Last words of jobs that ended with an error and were given again."""
    outlived_s: list[float] = field(default_factory=list)
    """How long scorers outlived a killed driver."""

    def __post_init__(self) -> None:
        self.by_kind = {kind: Toll() for kind in self.kinds}

    @property
    def kills(self) -> int:
        """Kills that hit a live target."""
        return sum(toll.kills for toll in self.by_kind.values())

    @property
    def failed(self) -> bool:
        """Whether anything at all was not as it should be."""
        return bool(self.lost or self.doubled or self.faults)

    def settle(self, kinds: Iterable[str], verdict: Verdict, where: str) -> None:
        """Add what a run with these kinds of kill came to."""
        self.lost += verdict.lost
        self.doubled += verdict.doubled
        for kind in set(kinds):
            self.by_kind[kind].lost += verdict.lost
            self.by_kind[kind].doubled += verdict.doubled
        self.faults += [f"{where}: {fault}" for fault in verdict.faults]

    def table(self) -> str:
        """Return the account as a Markdown table; a run's rows count for each kind it had."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield "| killed with -9 | kills | rows lost | rows doubled | resumes |"
        yield "|---|--:|--:|--:|--:|"
        for kind, toll in self.by_kind.items():
            if toll.kills:
                yield f"| {kind} | {toll.kills} | {toll.lost} | {toll.doubled} | {toll.resumes} |"
        resumes = sum(toll.resumes for toll in self.by_kind.values())
        yield f"| **total** | {self.kills} | {self.lost} | {self.doubled} | {resumes} |"
