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
    """The thresholds of one variant."""

    probabilities: bool | None = None
    """Whether the variant stores probabilities; None in runs of earlier versions."""
    file: str
    """The file that the thresholds are from; "0.5 for every label" where there is none."""
    values: dict[str, float]
    """Label to threshold."""
    tuned_on: JsonValue = None
    """A `TunedOn`; None where every threshold is 0.5, and in runs of earlier versions."""

    def without(self, opinion_ids: Sequence[str]) -> "Cuts":
        """Return the thresholds without the hashes of opinions that are erased."""
        if not self.tuned_on:
            return self
        left = TunedOn.model_validate(self.tuned_on).without(opinion_ids)
        return self.model_copy(update={"tuned_on": left.model_dump(mode="json")})

    def forgetting(self, before: "Cuts | None") -> "Cuts":
        """Return the thresholds without the hashes that an erasure removed from an earlier copy."""
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
        """Write them into a run, without the hashes that an erasure removed from its own copy.

        A thresholds file outside the run, from which they were read again, still has these hashes.
        """
        kept = self.root
        with suppress(RunError, ValidationError):  # it has none yet, or a damaged file
            former = KeptCuts.read(run).root
            kept = {name: each.forgetting(former.get(name)) for name, each in kept.items()}
        KeptCuts(kept).write(run)

    def without(self, opinion_ids: Sequence[str]) -> "KeptCuts":
        """Return the thresholds without the hashes of these opinions."""
        return KeptCuts({name: each.without(opinion_ids) for name, each in self.root.items()})

    def tuned_on(self) -> dict[str, TunedOn]:
        """Return thresholds file to what it was tuned on, of those that are known."""
        known = [each for each in self.root.values() if each.tuned_on]
        return {each.file: TunedOn.model_validate(each.tuned_on) for each in known}


def cuts_in_use(run: RunFolder, methods: Mapping[str, str]) -> dict[str, dict[str, float] | None]:
    """Return the thresholds of each of a run's variants in `methods`: label to threshold.

    None for a variant that stores labels without probabilities. The run says which variants do,
    unless an earlier version wrote it: then all do but those whose method, in `methods`, is json.
    Raises `RunError` where the run's thresholds cannot be read, or lack a variant's.
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
