"""A run of an earlier version, before labels were a file, gives the report's numbers it gave."""

import lzma
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsent import predictions
from medsent.commands.compare import compare_runs
from medsent.commands.tune import tune_run
from medsent.config.labels import LABELS
from medsent.metrics.cuts import cuts_in_use
from medsent.metrics.model import read_metrics
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.report.write import reduce_run
from medsent.runs.folder import RunFolder
from medsent.runs.shared_labels import narrow_answers
from tests.runs.numbers import differences, numbers, other

EARLIER = Path(__file__).parents[1] / "data" / "earlier-run"
"""40 records of two variants with a comparison, as that version wrote them; its `metrics.json.xz`
is by the same version."""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(EARLIER, tmp_path / "earlier-0")))


def test_its_numbers_are_the_same(run: RunFolder) -> None:
    before = lzma.decompress((run.path / "metrics.json.xz").read_bytes()).decode()
    made = reduce_run(run, run.config(), run.complete()).to_json()
    assert other(numbers(made), numbers(before)) == {}
    assert other(differences(made), differences(before)) == {}
    run.write("metrics.json", before)
    assert read_metrics(run.path / "metrics.json").to_json() == before


def test_files_of_today_may_stand_beside_its_own(run: RunFolder) -> None:
    """As in a run that grows: they have a field more."""
    before = reduce_run(run, run.config(), run.complete())
    file = next(run.predictions.iterdir())
    rows = pq.read_table(file)
    today = rows.slice(25)
    for name in before.variants:
        column = narrow_answers(today[name].combine_chunks(), LABELS)
        assert column.type.get_field_index("repaired") >= 0
        today = today.set_column(today.column_names.index(name), name, column)
    for name, part in (("a", today), ("part-0", rows.slice(0, 25)), ("z", today.slice(0, 0))):
        pq.write_table(part, file.with_name(f"{name}.parquet"))
    assert reduce_run(run, run.config(), run.complete()) == before
    table = predictions.table(run.predictions)
    assert table.num_rows == rows.num_rows
    assert table["base"].type == predictions.prediction_type(LABELS)


def test_its_predictions_tell_of_no_repair_and_its_file_of_no_probabilities(
    run: RunFolder,
) -> None:
    answers = predictions.table(run.predictions)["tuned"].type
    assert answers.get_field_index("repaired") < 0
    assert predictions.labels_of(run.predictions) == LABELS
    cuts = cuts_in_use(run, {"base": "onepass", "tuned": "bits"})
    assert list(cuts["tuned"] or {}) == list(LABELS)
    assert cuts_in_use(run, {"base": "json"}) == {"base": None}


@pytest.mark.slow
def test_it_can_be_tuned_on_and_compared_with(
    run: RunFolder, tmp_path: Path, said: list[str]
) -> None:
    found = read_thresholds(tune_run(run.path, "tuned"))
    assert (found.method, found.prompt, found.answer) == ("bits", None, None)
    said.clear()
    compare_runs(run.path, run.path, ("base", "tuned"), tmp_path / "out")
    within = read_metrics(tmp_path / "out" / "metrics.json").comparisons[0]
    own = reduce_run(run, run.config(), run.complete()).comparisons[0]
    assert (within.labels, within.overall) == (own.labels, own.overall)
