"""A run of an earlier version, before labels were a file, gives the report's numbers it gave."""

import lzma
import shutil
from pathlib import Path

import pytest

from medsent import predictions
from medsent.comparison import compare_runs
from medsent.labels import LABELS
from medsent.report.model import read_metrics
from medsent.reporting import reduce_run
from medsent.run import RunFolder
from medsent.statistics.thresholds import read_thresholds
from medsent.tuning import tune_run

EARLIER = Path(__file__).parent / "data" / "earlier-run"
"""40 records of two variants with a comparison, as that version wrote them; its `metrics.json.xz`
is by the same version."""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(EARLIER, tmp_path / "earlier-0")))


def test_its_numbers_are_the_same_to_the_byte(run: RunFolder) -> None:
    before = lzma.decompress((run.path / "metrics.json.xz").read_bytes()).decode()
    assert reduce_run(run, run.config(), run.complete()).to_json() == before
    run.write("metrics.json", before)
    assert read_metrics(run.path / "metrics.json").to_json() == before


def test_its_predictions_tell_of_no_repair_and_its_file_of_no_probabilities(
    run: RunFolder,
) -> None:
    answers = predictions.table(run.predictions)["tuned"].type
    assert answers.get_field_index("repaired") < 0
    assert predictions.labels_of(run.predictions) == LABELS
    cuts = run.cuts({"base": "onepass", "tuned": "bits"})
    assert list(cuts["tuned"] or {}) == list(LABELS)
    assert run.cuts({"base": "json"}) == {"base": None}


def test_it_can_be_tuned_on_and_compared_with(run: RunFolder, tmp_path: Path) -> None:
    found = read_thresholds(tune_run(run.path, "tuned", say=lambda _: None))
    assert (found.method, found.prompt, found.answer) == ("bits", None, None)
    said: list[str] = []
    compare_runs(run.path, run.path, ("base", "tuned"), tmp_path / "out", said.append)
    within = read_metrics(tmp_path / "out" / "metrics.json").comparisons[0]
    own = reduce_run(run, run.config(), run.complete()).comparisons[0]
    assert (within.labels, within.overall) == (own.labels, own.overall)
