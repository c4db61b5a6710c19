"""Two runs set against each other: which records, which figures, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from medsent.commands.compare import compare_runs
from medsent.config.labels import LABELS
from medsent.errors import ConfigError, RunError
from medsent.metrics.cost import Amount, Cost
from medsent.metrics.model import Metrics, read_metrics
from medsent.runs.folder import RunFolder
from tests.conftest import job_values, logged
from tests.predicted import Answers, batch, named
from tests.written import write_manifest

pytestmark = pytest.mark.slow

ROWS = 120
GOLD = (np.random.default_rng(0).random((ROWS, 21)) < 0.4).astype(np.int8)


def flipped(share: float, seed: int) -> npt.NDArray[np.int8]:
    flips = np.random.default_rng(seed).random(GOLD.shape) < share
    return np.where(flips, 1 - GOLD, GOLD).astype(np.int8)


WORSE, BETTER = flipped(0.3, 1), flipped(0.1, 2)


def write_run(
    folder: Path,
    answers: dict[str, npt.NDArray[np.int8]],
    *,
    gold: npt.NDArray[np.int8] = GOLD,
    first_row: int = 0,
    ids: list[str] | None = None,
    labels: Sequence[str] | None = None,
    **settings: Any,
) -> Path:
    """Write a complete run of labels, as `medsent evaluate` would have left it."""
    (folder / "predictions").mkdir(parents=True)
    count = len(gold)
    columns = {
        "row_hash": list(range(first_row, first_row + count)),
        "record_id": ids or [str(i) for i in range(count)],
        "opinion_id": [str(i // 2) for i in range(count)],
        "persona": ["nurse" if i % 2 else "surgeon" for i in range(count)],
        "language": ["pl" if i % 4 < 2 else "en" for i in range(count)],
    }
    table = pa.Table.from_batches(
        [batch(gold, {n: Answers(a) for n, a in answers.items()}, columns, labels)]
    )
    pq.write_table(table, folder / "predictions" / "a.parquet")
    values = job_values(Path("unread"), folder.parent, Path("unread"))
    values["variants"] = {name: {"method": "json"} for name in answers}
    values["statistics"] = {"replicates": 200}
    (folder / "config.yaml").write_text(yaml.safe_dump({**values, **settings}))
    (folder / "thresholds.json").write_text(json.dumps({}))
    write_manifest(RunFolder(folder), provenance={"model": folder.name})
    return folder


def compared(
    old: Path, new: Path, baseline: str | None = None, candidate: str | None = None
) -> tuple[Metrics, list[str]]:
    with logged() as said:
        report = compare_runs(old, new, (baseline, candidate), old.parent / "out")
    assert report == old.parent / "out" / "report.html"
    assert (report.parent / "report.md").read_text().startswith("# compare-scripted\n")
    return read_metrics(report.parent / "metrics.json"), said


def test_it_is_the_comparison_of_two_variants_of_one_run(tmp_path: Path) -> None:
    both = write_run(tmp_path / "both-0", {"a": WORSE, "b": BETTER})
    alone = write_run(tmp_path / "alone-0", {"c": BETTER}, first_row=7_000)
    within, _ = compared(both, both, "a", "b")
    across, said = compared(both, alone, "a")
    (one,), (two,) = within.comparisons, across.comparisons
    assert (one.baseline, one.candidate) == ("a@both-0", "b@both-0")
    assert two.candidate == "c@alone-0"
    assert (one.overall, one.labels, one.slices) == (two.overall, two.labels, two.slices)
    assert one.records == ROWS
    assert one.overall["macro_f1"].difference.low > 0
    assert across.provenance["c@alone-0"] == {"model": "alone-0"}
    assert not any("Left out" in line for line in said)


def test_records_of_one_run_alone_are_left_out_and_said(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old-0", {"v": WORSE})
    new = write_run(tmp_path / "new-0", {"v": BETTER[:100]}, gold=GOLD[:100])
    found, said = compared(old, new)
    assert found.comparisons[0].records == found.records.input == 100
    assert "Left out: 20 records that only old-0 holds." in said


def test_runs_of_other_labels_are_compared_by_those_of_both(tmp_path: Path) -> None:
    theirs = ["joy", *LABELS[4::-2], "grief"]
    other = np.random.default_rng(5).integers(0, 2, (ROWS, 2), dtype=np.int8)

    def of_theirs(matrix: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        return np.column_stack([other[:, 0], matrix[:, [4, 2, 0]], other[:, 1]])

    old = write_run(tmp_path / "old-0", {"v": WORSE})
    new = write_run(
        tmp_path / "new-0", {"v": of_theirs(BETTER)}, gold=of_theirs(GOLD), labels=theirs
    )
    found, said = compared(old, new)
    (pair,) = found.comparisons
    assert tuple(pair.labels) == tuple(found.variants["v@new-0"].labels) == LABELS[4::-2]
    left_out = {
        "v@old-0": [label for label in LABELS if label not in theirs],
        "v@new-0": ["joy", "grief"],
    }
    assert pair.labels_left_out == left_out
    assert "Labels left out, which only new-0 has: joy, grief." in said
    assert f"Labels left out, which only old-0 has: {', '.join(left_out['v@old-0'])}." in said
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Every figure is over the 3 labels that both have; v@old-0 alone has negative," in text
    assert "; v@new-0 alone has joy, grief." in text
    # The figures are those of runs that have these labels alone.
    alone = [
        write_run(
            tmp_path / f"{name}-0",
            {"v": answers[:, [4, 2, 0]]},
            gold=GOLD[:, [4, 2, 0]],
            labels=LABELS[4::-2],
        )
        for name, answers in (("narrow", WORSE), ("narrower", BETTER))
    ]
    (expected,) = compared(*alone)[0].comparisons
    assert expected.labels_left_out == {}
    assert (pair.labels, pair.overall) == (expected.labels, expected.overall)
    # Gold must agree on what is compared, and on nothing else.
    wrong = of_theirs(GOLD)
    wrong[:, 3] = 1 - wrong[:, 3]
    changed = write_run(tmp_path / "gold-0", {"v": of_theirs(BETTER)}, gold=wrong, labels=theirs)
    with pytest.raises(RunError, match=rf"the gold of {ROWS} records differs"):
        compared(old, changed)


def test_runs_without_a_label_in_common_are_refused(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old-0", {"v": WORSE})
    names = [f"other {label}" for label in LABELS]
    new = write_run(tmp_path / "new-0", {"v": BETTER}, labels=names)
    with pytest.raises(RunError, match=r"old-0 and .*new-0 have no label in common"):
        compared(old, new)


@pytest.mark.parametrize("number", [5, 60])
def test_any_number_of_labels(tmp_path: Path, number: int) -> None:
    gold, worse, better = (np.resize(each, (ROWS, number)) for each in (GOLD, WORSE, BETTER))
    old = write_run(tmp_path / "old-0", {"v": worse}, gold=gold)
    new = write_run(tmp_path / "new-0", {"v": better}, gold=gold)
    found, _ = compared(old, new)
    assert tuple(found.comparisons[0].labels) == named(number)
    assert found.comparisons[0].overall["macro_f1"].difference.low > 0


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old-0", {"v": WORSE})
    with pytest.raises(ConfigError, match="both are v@old-0"):
        compared(old, old)
    two = write_run(tmp_path / "two-0", {"v": WORSE, "w": BETTER})
    with pytest.raises(ConfigError, match=r"two-0 has several variants \(v, w\).*--candidate"):
        compared(old, two)
    with pytest.raises(ConfigError, match="--baseline: old-0 has no variant 'x'"):
        compared(old, two, "x", "w")
    other = write_run(tmp_path / "other-0", {"v": BETTER}, gold=1 - GOLD)
    with pytest.raises(RunError, match=rf"the gold of {ROWS} records differs"):
        compared(old, other)
    strangers = [f"other {i}" for i in range(ROWS)]
    apart = write_run(tmp_path / "apart-0", {"v": BETTER}, first_row=7_000, ids=strangers)
    with pytest.raises(RunError, match="share no record"):
        compared(old, apart)
    twice = write_run(
        tmp_path / "twice-0", {"v": BETTER}, first_row=7_000, ids=["0"] * 4 + strangers[4:]
    )
    # Two records of the first opinion's surgeon and nurse differ in persona; those of row 0 and
    # row 2 differ in opinion.
    found, _ = compared(old, twice)
    assert found.comparisons[0].records == 1
    with pytest.raises(ConfigError, match=r"--output: .*old-0 is a run, and its report"):
        compare_runs(old, apart, (None, None), old)
    (tmp_path / "apart-0" / "manifest.json").unlink()
    with pytest.raises(RunError, match="apart-0 is not complete"):
        compared(old, apart)


def test_records_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old-0", {"v": WORSE})
    new = write_run(tmp_path / "new-0", {"v": BETTER}, first_row=7_000)
    file = new / "predictions" / "a.parquet"
    table = pq.read_table(file)
    doubled = pa.concat_tables([table, table.slice(0, 1)])
    pq.write_table(doubled, file)
    with pytest.raises(RunError, match="new-0 holds records of the same opinion_id, persona"):
        compared(old, new)


def test_the_candidate_of_the_only_comparison_is_taken(tmp_path: Path) -> None:
    pair = [{"baseline": "v", "candidate": "w"}]
    old = write_run(tmp_path / "old-0", {"v": WORSE, "w": WORSE}, compare=pair)
    new = write_run(tmp_path / "new-0", {"v": WORSE, "w": BETTER}, compare=pair)
    found, _ = compared(old, new)
    assert list(found.variants) == ["w@old-0", "w@new-0"]


def test_it_ends_in_a_verdict_by_the_candidates_margins(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old-0", {"v": WORSE})
    new = write_run(tmp_path / "new-0", {"v": BETTER})
    found, said = compared(old, new)
    (pair,) = found.comparisons
    assert pair.verdict is not None
    assert (pair.verdict.decision, pair.verdict.better, pair.opinions) == ("ship", True, ROWS // 2)
    assert any(line.startswith("  Ship: v@new-0 against v@old-0, macro F1 +") for line in said)
    assert "**Ship: v@new-0 is better" in (tmp_path / "out" / "report.md").read_text()
    back, said = compared(new, old)
    assert back.comparisons[0].verdict is not None
    assert back.comparisons[0].verdict.decision == "block"
    lenient = {"replicates": 200, "margin": 0.9, "label_margin": None}
    loose = write_run(tmp_path / "loose-0", {"v": WORSE}, statistics=lenient)
    allowed, _ = compared(new, loose)
    assert allowed.comparisons[0].verdict is not None
    assert allowed.comparisons[0].verdict.decision == "ship"
    assert allowed.comparisons[0].verdict.labels == {}


def test_a_run_compared_with_one_of_the_same_answers_is_shipped(tmp_path: Path) -> None:
    old = write_run(tmp_path / "old-0", {"v": BETTER})
    new = write_run(tmp_path / "new-0", {"v": BETTER})
    found, said = compared(old, new)
    assert found.comparisons[0].verdict is not None
    assert found.comparisons[0].verdict.decision == "ship"
    assert any(line.endswith("no label of any record differs") for line in said)


def paid(run: Path, variant: str, amount: float, currency: str = "USD") -> None:
    """Leave in a run what its report says that a variant costs."""
    cost = Cost(
        replica_hours_per_million_records=Amount(value=1.0),
        shared=0.0,
        money_per_million_records=Amount(value=amount, low=amount - 1, high=amount + 1),
        currency=currency,
    )
    metrics, _ = compared(run, run, "v", "w")
    found = metrics.variants[f"{variant}@{run.name}"].model_copy(update={"cost": cost})
    told = metrics.model_copy(update={"variants": {variant: found}, "comparisons": []})
    (run / "metrics.json").write_text(told.to_json())


def test_costs_are_those_of_each_runs_own_report(tmp_path: Path) -> None:
    both = {"v": WORSE, "w": BETTER}
    price = {"per_gpu_hour": 2.5}
    old = write_run(tmp_path / "old-0", both, price=price)
    new = write_run(tmp_path / "new-0", both, price=price)
    found, _ = compared(old, new, "v", "w")
    assert found.cheapest is found.comparisons[0].cost is None
    paid(old, "v", 30.0)
    found, said = compared(old, new, "v", "w")
    assert found.comparisons[0].cost is None
    assert any(line.startswith("What w@new-0 costs is not known") for line in said)
    paid(new, "w", 12.0)
    found, _ = compared(old, new, "v", "w")
    change = found.comparisons[0].cost
    assert change is not None
    assert change.money_per_million_records.value == -18.0
    assert found.cheapest is not None
    assert (found.cheapest.best, found.cheapest.cheapest) == ("w@new-0", "w@new-0")
    assert (
        "18.0 USD less with w@new-0 than with v@old-0" in (old.parent / "out/report.md").read_text()
    )
    paid(new, "w", 12.0, "EUR")
    found, said = compared(old, new, "v", "w")
    assert found.cheapest is found.comparisons[0].cost is None
    assert "Costs in two currencies are not compared." in said
