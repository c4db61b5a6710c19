"""Drift of labels and input between two runs: what is found, how surely, and what is not."""

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

from medsent.commands.drift import Drift, DriftSettings, measure_drift, stability_index
from medsent.config.labels import LABELS
from medsent.errors import RunError
from medsent.runs.folder import RunFolder
from tests.conftest import job_values
from tests.predicted import Answers, batch

OPINIONS, READERS = 200, 4
ROWS = OPINIONS * READERS
ANGER = LABELS.index("anger")
SETTINGS = DriftSettings()


def write_run(
    folder: Path,
    seed: int,
    *,
    rates: npt.NDArray[np.float64] | None = None,
    first: int = 0,
    tokens: int | None = 100,
    english: float = 0.3,
    quarantined: float = 0.0,
    reason: str = "empty_text",
    language: str = "en",
    names: Sequence[str] = LABELS,
) -> RunFolder:
    """Write a run whose records of an opinion tend to get the same labels."""
    rng = np.random.default_rng(seed)
    chance = np.full(len(LABELS), 0.3) if rates is None else rates
    # Half of the records of an opinion get what its first one gets.
    own, shared = (rng.random((ROWS, len(LABELS))) < chance for _ in range(2))
    shared = np.repeat(shared[::READERS], READERS, axis=0)
    labels = np.where(rng.random((ROWS, 1)) < 0.5, shared, own).astype(np.int8)
    opinion = np.repeat(np.arange(OPINIONS), READERS)
    lost = rng.random(ROWS) < quarantined
    columns: dict[str, Any] = {
        "row_hash": list(range(ROWS)),
        "record_id": [str(i) for i in range(ROWS)],
        "opinion_id": [str(first + i) for i in opinion],
        "persona": ["nurse" if i % 2 else "surgeon" for i in range(ROWS)],
        "language": np.where((rng.random(OPINIONS) < english)[opinion], language, "pl").tolist(),
        "outcome": np.where(lost, "quarantined", "scored").tolist(),
        "reason": [reason if gone else None for gone in lost],
    }
    lengths = rng.integers(0, 50, OPINIONS)[opinion]
    known = None if tokens is None else (tokens + lengths).tolist()
    answers = Answers(labels, prompt_tokens=known)
    (folder / "predictions").mkdir(parents=True)
    gold = np.full_like(labels, -1)  # a backfill has none
    table = pa.Table.from_batches([batch(gold, {"v": answers}, columns, names)])
    for part, some in enumerate((table.slice(0, 333), table.slice(333))):
        pq.write_table(some, folder / "predictions" / f"{part}.parquet")
    values = job_values(Path("unread"), folder.parent, Path("unread"))
    values["variants"] = {"v": {"method": "json"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    (folder / "thresholds.json").write_text(json.dumps({}))
    return RunFolder(folder)


def named(found: list[Drift]) -> dict[str, Drift]:
    return {drift.name: drift for drift in found}


def alarms(found: list[Drift]) -> set[str]:
    return {drift.name for drift in found if drift.alarm}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("drift") / "reference-0", seed=1)


def test_the_same_run_has_not_drifted(reference: RunFolder) -> None:
    found = measure_drift(reference, reference, ["v"], SETTINGS)
    assert [drift.name for drift in found] == [
        *LABELS, "prompt_tokens", "language", "persona", "quarantined",
    ]  # fmt: skip
    assert {drift.value for drift in found} == {0.0}
    assert not alarms(found)


def test_runs_of_other_labels_are_compared_by_those_of_both(
    reference: RunFolder, tmp_path: Path
) -> None:
    names = ["joy", *reversed(LABELS[1:])]
    other = write_run(tmp_path / "other-0", seed=1, names=names)
    found = measure_drift(reference, other, ["v"], SETTINGS)
    assert [drift.name for drift in found if drift.kind == "label_rate"] == names[1:]
    back = named(measure_drift(other, reference, ["v"], SETTINGS))
    assert list(back)[:20] == list(LABELS[1:])
    assert back["anger"].value == -named(found)["anger"].value != 0
    assert back["anger"].message.startswith(f"anger given to {_rate(other, names.index('anger'))}")
    strange = write_run(tmp_path / "strange-0", seed=1, names=[f"x {name}" for name in LABELS])
    with pytest.raises(RunError, match="no label in common"):
        measure_drift(reference, strange, ["v"], SETTINGS)


def _rate(run: RunFolder, place: int) -> str:
    rows = pa.concat_tables([pq.read_table(file) for file in sorted(run.predictions.iterdir())])
    labels = rows["v"].combine_chunks().field("labels")
    return f"{100 * np.mean(labels.field(place).to_pylist()):.1f}%"


def test_another_sample_of_the_same_kind_is_no_alarm(reference: RunFolder, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other-0", seed=2, first=10_000)
    found = named(measure_drift(reference, other, ["v"], SETTINGS))
    assert not alarms(list(found.values()))
    assert sum(found[label].value != 0 for label in LABELS) > 15
    for label in LABELS:
        drift = found[label]
        assert drift.low is not None
        assert drift.high is not None
        assert drift.low < drift.value < drift.high
        assert drift.low < 0 < drift.high
    assert 0 < found["language"].value < 0.2


def test_a_label_that_is_given_more_often_is_found(reference: RunFolder, tmp_path: Path) -> None:
    rates = np.full(len(LABELS), 0.3)
    rates[ANGER] = 0.6
    other = write_run(tmp_path / "other-0", seed=2, first=10_000, rates=rates)
    found = measure_drift(reference, other, ["v"], SETTINGS)
    assert alarms(found) == {"anger"}
    anger = named(found)["anger"]
    assert anger.low is not None
    assert 0.05 < anger.low < 0.3 < (anger.high or 0)
    assert "given to 3" in anger.message
    # The other way round as well, and only beyond what is allowed.
    back = measure_drift(other, reference, ["v"], SETTINGS)
    assert alarms(back) == {"anger"}
    assert named(back)["anger"].value == pytest.approx(-anger.value)
    lenient = DriftSettings(label_rate=0.4)
    assert not alarms(measure_drift(reference, other, ["v"], lenient))


def test_opinions_that_both_hold_are_paired(reference: RunFolder, tmp_path: Path) -> None:
    """A small change of the same opinions is told more sharply than one of others."""
    apart, same = (
        named(
            measure_drift(
                reference, write_run(tmp_path / f"{first}-0", seed=1, first=first), ["v"], SETTINGS
            )
        )
        for first in (10_000, 0)
    )
    assert apart["anger"].value == same["anger"].value == 0
    assert same["anger"].low == same["anger"].high == 0
    assert apart["anger"].low is not None
    assert apart["anger"].low < -0.02


def test_clusters_widen_the_interval(reference: RunFolder, tmp_path: Path) -> None:
    """Against the formula for independent records, which these are not."""
    other = write_run(tmp_path / "other-0", seed=2, first=10_000)
    drift = named(measure_drift(reference, other, ["v"], SETTINGS))["calm"]
    assert drift.low is not None
    assert drift.high is not None
    naive = 2 * 3.04 * np.sqrt(2 * 0.3 * 0.7 / ROWS)  # 3.04: the normal's quantile over 21
    assert drift.high - drift.low > 1.15 * naive


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"tokens": 160}, "prompt_tokens"), ({"english": 0.9}, "language")],
)
def test_another_input_is_found(
    reference: RunFolder, tmp_path: Path, changed: dict[str, Any], name: str
) -> None:
    other = write_run(tmp_path / "other-0", seed=2, first=10_000, **changed)
    found = measure_drift(reference, other, ["v"], SETTINGS)
    assert alarms(found) == {name}
    assert named(found)[name].chance is not None
    assert not alarms(measure_drift(reference, other, ["v"], DriftSettings(population=None)))


def test_a_value_that_is_no_name_is_not_told(reference: RunFolder, tmp_path: Path) -> None:
    text = "The doctor was late again, and nobody told us anything at all."
    other = write_run(tmp_path / "other-0", seed=2, first=10_000, english=0.9, language=text)
    found = named(measure_drift(reference, other, ["v"], SETTINGS))["language"]
    assert found.alarm
    assert "doctor" not in found.message


def test_a_rise_of_what_is_quarantined_is_found(reference: RunFolder, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other-0", seed=2, first=10_000, quarantined=0.15)
    found = measure_drift(reference, other, ["v"], SETTINGS)
    assert alarms(found) == {"quarantined"}
    # Fewer than before is no alarm.
    assert not alarms(measure_drift(other, reference, ["v"], SETTINGS))


def test_what_was_erased_is_no_drift(reference: RunFolder, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other-0", seed=1, quarantined=0.15, reason="erased")
    found = measure_drift(reference, other, ["v"], SETTINGS)
    assert not alarms(found)
    assert named(found)["quarantined"].value == 0


def test_too_few_opinions_raise_no_alarm(reference: RunFolder, tmp_path: Path) -> None:
    run = write_run(tmp_path / "few-0", seed=3, first=10_000, tokens=900, english=1.0)
    for part in sorted(run.predictions.glob("*.parquet")):
        rows = 16 if part.name == "0.parquet" else 0
        pq.write_table(pq.read_table(part).slice(0, rows), part)
    found = named(measure_drift(reference, run, ["v"], SETTINGS))
    assert not alarms(list(found.values()))
    assert found["anger"].low is None
    assert "too few opinions to tell" in found["anger"].message
    assert found["language"].chance is None
    assert found["language"].value > 0.2


def test_prompts_of_unknown_length_are_not_judged(reference: RunFolder, tmp_path: Path) -> None:
    run = write_run(tmp_path / "bare-0", seed=2, first=10_000, tokens=None)
    for pair in ((reference, run), (run, reference), (run, run)):
        found = named(measure_drift(*pair, ["v"], SETTINGS))["prompt_tokens"]
        assert (found.alarm, found.chance) == (False, None)


def test_the_index_is_the_symmetric_divergence() -> None:
    before, now = np.array([5_000.0, 5_000.0]), np.array([8_000.0, 2_000.0])
    exact = 0.3 * np.log(0.8 / 0.5) + 0.3 * np.log(0.5 / 0.2)
    assert stability_index(before, now) == pytest.approx(exact, rel=1e-3)
    assert stability_index(now, before) == pytest.approx(stability_index(before, now))
    assert stability_index(before, before) == 0
    # A value that one of the two lacks is no infinity.
    assert 1 < stability_index(np.array([100.0, 0.0]), np.array([50.0, 50.0])) < 10


def test_what_chance_reaches_is_what_samples_reach() -> None:
    """One sample in 20 of a population is beyond it."""
    rng = np.random.default_rng(0)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    from medsent.commands.drift import _chance

    bound = _chance(4, 300, 500)
    assert bound is not None
    drawn = [
        stability_index(
            rng.multinomial(300, shares).astype(float), rng.multinomial(500, shares).astype(float)
        )
        for _ in range(4_000)
    ]
    assert np.mean(np.array(drawn) > bound) == pytest.approx(0.05, abs=0.012)
