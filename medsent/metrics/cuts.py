"""The thresholds in use, as a run's folder holds them in `thresholds.json`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from pydantic import JsonValue, RootModel, ValidationError

from medsent.errors import RunError
from medsent.metrics.statistics.thresholds import TunedOn
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder

_FILE = "thresholds.json"


class Cuts(Written):
    """Those of one variant."""

    probabilities: bool | None = None
    """Whether it stores any, so that there is something to cut; None in runs of before."""
    file: str
    """Where they are from, in words where that is no file."""
    values: dict[str, float]
    """Label to threshold."""
    tuned_on: JsonValue = None
    """A `TunedOn`; None for 0.5, and in runs of before."""

    def without(self, opinion_ids: Sequence[str]) -> "Cuts":
        """Return them as they are where some opinions are to be known no more."""
        if not self.tuned_on:
            return self
        left = TunedOn.model_validate(self.tuned_on).without(opinion_ids)
        return self.model_copy(update={"tuned_on": left.model_dump(mode="json")})

    def forgetting(self, before: "Cuts | None") -> "Cuts":
        """Return them without the opinions that a former copy of them was made to forget."""
        if before is None or not before.tuned_on or not self.tuned_on:
            return self
        former = TunedOn.model_validate(before.tuned_on)
        left = TunedOn.model_validate(self.tuned_on).forgetting(former)
        return self.model_copy(update={"tuned_on": left.model_dump(mode="json")})


class KeptCuts(Written, RootModel[dict[str, Cuts]]):
    """Those of all variants, by name."""

    @classmethod
    def read(cls, run: RunFolder) -> "KeptCuts":
        """Read those of a run. Raises `RunError` where they are damaged, or cannot be read."""
        try:
            kept = read_file(run.path / _FILE, cls, "run its job again")
        except OSError as error:
            raise RunError(f"{run.path}: {_FILE} cannot be read; run its job again") from error
        if kept is None:
            raise RunError(f"{run.path} has no {_FILE}; run its job again")
        return kept

    def write(self, run: RunFolder) -> None:
        """Write them into a run, so that its report depends on nothing outside it."""
        run.write(_FILE, self.to_json())

    def write_again(self, run: RunFolder) -> None:
        """Write them into a run, but nothing of what an erasure took out of those it holds.

        The file they are read from anew still has it where it lies outside the run.
        """
        kept = self.root
        with suppress(RunError, ValidationError):  # it has none yet, or a damaged file
            former = KeptCuts.read(run).root
            kept = {name: each.forgetting(former.get(name)) for name, each in kept.items()}
        KeptCuts(kept).write(run)

    def without(self, opinion_ids: Sequence[str]) -> "KeptCuts":
        """Return them as they are where some opinions are to be known no more."""
        return KeptCuts({name: each.without(opinion_ids) for name, each in self.root.items()})

    def tuned_on(self) -> dict[str, TunedOn]:
        """Return thresholds file to what it was tuned on, of those that are known."""
        known = [each for each in self.root.values() if each.tuned_on]
        return {each.file: TunedOn.model_validate(each.tuned_on) for each in known}


def cuts_in_use(run: RunFolder, methods: Mapping[str, str]) -> dict[str, dict[str, float] | None]:
    """Return of each of these variants of a run label to threshold.

    None for a variant that stores no probabilities, only labels. A run tells which do; one of
    before does not: there every method but json did, so `methods` are the variants'. Raises
    `RunError` where the run's thresholds cannot be read, or lack a variant's.
    """
    kept = KeptCuts.read(run).root
    absent = [name for name, method in methods.items() if name not in kept and method != "json"]
    if absent:
        raise RunError(f"{run.path / _FILE} lacks variant {absent[0]}; run its job again")
    return {name: _values(kept.get(name), method) for name, method in methods.items()}


def _values(cuts: Cuts | None, method: str) -> dict[str, float] | None:
    if cuts is None:
        return None
    stores = method != "json" if cuts.probabilities is None else cuts.probabilities
    return cuts.values if stores else None
