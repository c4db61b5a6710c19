"""What a night is compared with, and what it goes without."""

from pathlib import Path
from typing import Any

import pytest

from medsent.commands.evaluate import rewrite_report
from medsent.commands.nightly.evidence import gather, pinned_reference
from medsent.commands.nightly.history import History, Night
from medsent.commands.nightly.rules import Evidence, judge
from medsent.commands.nightly.settings import GateSettings, NightlyConfig
from medsent.config.labels import LABELS
from medsent.errors import ConfigError, RunError
from medsent.runs.folder import RunFolder
from tests.commands.nightly.test_history import row
from tests.commands.test_compare import BETTER, GOLD, WORSE, write_run
from tests.conftest import job_values
from tests.written import write_manifest

SETTINGS: dict[str, Any] = {"statistics": {"replicates": 200, "slices": []}}


def config(folder: Path, **groups: Any) -> NightlyConfig:
    values = job_values(folder / "unread", folder, folder / "unread")
    values |= {"variants": {"v": {"method": "json"}}, **SETTINGS, **groups}
    return NightlyConfig.model_validate(values)


def reported(folder: Path, name: str, *written: Any, **settings: Any) -> RunFolder:
    """Write a run with its report, as `medsent evaluate` would have left it."""
    run = RunFolder(write_run(folder / name, *written, **SETTINGS, **settings))
    write_manifest(run, len(GOLD))
    rewrite_report(run.path)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("evidence")
    reported(found, "better-0", {"v": BETTER})
    reported(found, "worse-0", {"v": WORSE})
    reported(found, "other-0", {"w": BETTER})
    reported(found, "gold-0", {"v": BETTER}, gold=1 - GOLD)
    reported(found, "renamed-0", {"v": BETTER}, labels=["joy", *LABELS[1:]])
    reported(found, "strange-0", {"v": BETTER}, labels=[f"x {label}" for label in LABELS])
    return found


def gathered(folder: Path, reference: str | None, good: str | None) -> Evidence:
    """Gather for the run `worse-0`."""
    pinned = None if reference is None else RunFolder(folder / reference)
    night: Night | None = None if good is None else row(0, run=good)
    run = RunFolder(folder / "worse-0")
    return gather(config(folder), run, pinned, History(folder, "nightly"), night)


def test_a_reference_of_other_labels_is_compared_by_those_of_both(folder: Path) -> None:
    found = gathered(folder, "renamed-0", None)
    reference = found.anchors["reference"].comparisons["v"]
    assert tuple(reference.labels) == LABELS[1:]
    assert list(reference.labels_left_out.values()) == [["joy"], [LABELS[0]]]
    assert {drift.name for drift in found.drifts if drift.variant} >= {*LABELS[1:]}
    assert not {"joy", LABELS[0]} & {drift.name for drift in found.drifts}


def test_a_run_without_any_of_the_labels_is_compared_with_nothing(folder: Path) -> None:
    with pytest.raises(RunError, match=r"^reference: .*have no label in common"):
        gathered(folder, "strange-0", None)
    with pytest.raises(RunError, match="strange-0 has none of this job's labels"):
        pinned_reference(config(folder, reference=str(folder / "strange-0")))
    found = gathered(folder, "better-0", "strange-0")
    assert list(found.anchors) == ["reference"]
    assert "have no label in common" in found.absent["last_good"]


def test_the_same_comparison_whoever_it_is_with(folder: Path) -> None:
    found = gathered(folder, "better-0", None)
    assert list(found.anchors) == ["reference"]
    assert found.basis == "reference"
    reference = found.anchors["reference"].comparisons["v"]
    assert (reference.baseline, reference.candidate) == (
        "v@better-0 (the reference)",
        "v@worse-0",
    )
    macro = reference.overall["macro_f1_supported"].difference
    assert macro is not None
    assert macro.high is not None
    assert macro.high < 0
    later = gathered(folder, None, "better-0")
    assert later.basis == "last_good"
    assert later.anchors["last_good"].comparisons["v"].labels == reference.labels
    assert later.absent == {"reference": "no reference is pinned"}


def test_a_corrected_interval_holds_the_one_that_stands_alone(folder: Path) -> None:
    compared = gathered(folder, "better-0", None).anchors["reference"].comparisons["v"]
    for change in compared.labels.values():
        alone, together = change.difference, change.simultaneous
        assert alone is not None
        assert together is not None
        if alone.low is None or alone.high is None:
            assert together.no_interval == alone.no_interval
            continue
        assert together.low is not None
        assert together.high is not None
        assert together.low < alone.low < alone.high < together.high


def test_a_good_night_that_is_the_reference_is_asked_once(folder: Path) -> None:
    found = gathered(folder, "better-0", "better-0")
    assert list(found.anchors) == ["reference"]
    assert found.absent == {}


def test_a_good_night_that_cannot_be_compared_with_is_gone_without(folder: Path) -> None:
    assert "has no variant 'v'" in gathered(folder, None, "other-0").absent["last_good"]
    assert "the gold of 120 records differs" in gathered(folder, None, "gold-0").absent["last_good"]
    assert "are gone" in gathered(folder, None, "never-0").absent["last_good"]


def test_a_reference_that_cannot_be_compared_with_ends_the_night(folder: Path) -> None:
    with pytest.raises(RunError, match=r"reference: the gold of 120 records differs.*pin another"):
        gathered(folder, "gold-0", None)


def test_a_total_collapse_closes(tmp_path: Path) -> None:
    """Every opinion has changed alike, so that no replicate differs from another."""
    perfect = reported(tmp_path, "perfect-0", {"v": GOLD})
    wrong = reported(tmp_path, "wrong-0", {"v": 1 - GOLD})
    history = History(tmp_path, "nightly")
    found = gather(config(tmp_path), wrong, perfect, history, None)
    rulings = judge(found, GateSettings())
    closed = {ruling.rule for ruling in rulings if ruling.status == "closes"}
    assert {"labels", "macro_f1"} <= closed
    labels = [ruling for ruling in rulings if ruling.rule == "labels" and ruling.subject]
    assert {(r.status, r.value, r.low, r.high) for r in labels} == {("closes", -1, None, None)}


def test_a_good_night_that_is_damaged_is_gone_without(folder: Path, tmp_path: Path) -> None:
    good = reported(tmp_path, "good-0", {"v": BETTER})
    [file] = good.predictions.glob("*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    run, history = RunFolder(folder / "worse-0"), History(tmp_path, "nightly")
    found = gather(config(folder), run, None, history, row(0, run="good-0"))
    assert found.anchors == {}
    assert "the last good night, good-0 cannot be read (Arrow" in found.absent["last_good"]


def test_the_night_that_is_the_reference_has_nothing_to_lose(folder: Path) -> None:
    found = gathered(folder, "worse-0", None)
    assert found.anchors == {}
    assert not found.drifts
    assert found.absent["reference"] == "this night is the reference"


def test_a_reference_is_looked_at_before_anything_is_scored(folder: Path, tmp_path: Path) -> None:
    pinned = pinned_reference(config(folder, reference=str(folder / "better-0")))
    assert pinned == RunFolder((folder / "better-0").resolve())
    with pytest.raises(ConfigError, match="reference: other-0 has no variant 'v'"):
        pinned_reference(config(folder, reference=str(folder / "other-0")))
    old = RunFolder(write_run(tmp_path / "old-0", {"v": BETTER}))
    old.drop_predictions()
    with pytest.raises(RunError, match="holds no predictions any more; pin another run"):
        pinned_reference(config(folder, reference=str(old.path)))
