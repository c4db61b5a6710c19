"""The thresholds that a run holds, by variant."""

from pathlib import Path

import pytest

from medsent.errors import RunError
from medsent.metrics.cuts import Cuts, KeptCuts, cuts_in_use
from medsent.metrics.statistics.thresholds import TunedOn, hash_opinions, hashed_opinions
from medsent.runs.folder import RunFolder

VALUES = {"joy": 0.3}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    kept = {
        "stores": Cuts(probabilities=True, file="cuts.json", values=VALUES),
        "labels": Cuts(probabilities=False, file="0.5", values=VALUES),
        "earlier": Cuts(file="0.5", values=VALUES),
    }
    KeptCuts(kept).write(RunFolder(tmp_path))
    return RunFolder(tmp_path)


def test_a_run_tells_which_variants_store_probabilities(run: RunFolder) -> None:
    found = cuts_in_use(run, {"stores": "json", "labels": "bits"})
    assert found == {"stores": VALUES, "labels": None}


def test_of_earlier_runs_the_method_tells_it(run: RunFolder) -> None:
    assert cuts_in_use(run, {"earlier": "bits"}) == {"earlier": VALUES}
    assert cuts_in_use(run, {"earlier": "json", "gone": "json"}) == {"earlier": None, "gone": None}


def test_a_variant_whose_thresholds_are_gone_is_named(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"thresholds\.json lacks variant gone; run its job again"):
        cuts_in_use(run, {"stores": "bits", "gone": "onepass"})


def test_what_was_erased_does_not_come_back_from_the_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    known = TunedOn(data_digest="d", opinions=3, records=9, opinion_hashes=hashed_opinions("abc"))
    told = known.model_dump(mode="json")
    kept = KeptCuts({"v": Cuts(file="/elsewhere.json", values=VALUES, tuned_on=told)})
    kept.write_again(run)
    assert KeptCuts.read(run) == kept
    KeptCuts.read(run).without(["a"]).write(run)
    kept.write_again(run)
    [left] = KeptCuts.read(run).tuned_on().values()
    assert left.hashes.tolist() == hash_opinions("bc").tolist()
    run.write("thresholds.json", "{")
    kept.write_again(run)
    assert KeptCuts.read(run) == kept
