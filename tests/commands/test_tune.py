"""A run's own probabilities and gold give its thresholds, and a file that tells where from."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.cli import main
from medsent.commands.evaluate import held, rewrite_report
from medsent.commands.tune import tune_run
from medsent.config.job import JobConfig
from medsent.config.labels import LABELS
from medsent.errors import ConfigError, LeaseError, RunError, UsageError
from medsent.metrics.statistics.thresholds import (
    best_f1_thresholds,
    hashed_opinions,
    read_thresholds,
)
from medsent.runs.folder import RunFolder
from tests import predicted
from tests.conftest import Finished, job_values, merged
from tests.written import write_manifest

ROWS, READERS = 240, 4
ABSENT, HOPELESS = LABELS.index("political"), LABELS.index("vulgar")


def made() -> tuple[np.ndarray, np.ndarray]:
    """Return gold (N, 21) of 1, 0 or -1 and probabilities that know something of it.

    One label has no positives, and of one the probabilities are the wrong way round.
    """
    rng = np.random.default_rng(3)
    gold = (rng.random((ROWS, len(LABELS))) < 0.4).astype(np.int8)
    gold[:, ABSENT] = 0
    noise = rng.normal(size=gold.shape)
    probabilities = 1 / (1 + np.exp(-(2.5 * gold - 1 + noise)))
    probabilities[:, HOPELESS] = np.where(gold[:, HOPELESS], 0.1, 0.9)
    gold[rng.random(gold.shape) < 0.1] = -1
    return gold, probabilities.astype(np.float32)


def rows(variants: tuple[str, ...] = ("plain",)) -> pa.RecordBatch:
    gold, probabilities = made()
    answers = predicted.Answers((probabilities >= 0.5).astype(np.int8), probabilities=probabilities)
    columns = {
        "opinion_id": [f"o{i // READERS}" for i in range(ROWS)],
        "record_id": [f"r{i}" for i in range(ROWS)],
        "persona": [f"p{i % READERS}" if i % READERS else None for i in range(ROWS)],
    }
    return predicted.batch(gold, dict.fromkeys(variants, answers), columns)


def make_run(
    folder: Path,
    batches: list[pa.RecordBatch],
    methods: dict[str, str],
    probabilities: dict[str, bool] | None = None,
    **provenance: Any,
) -> RunFolder:
    """Write a complete run with those predictions, a file each.

    `probabilities` tells which variants store any; None as in a run of before.
    """
    run = RunFolder(folder / "validation-0123456789ab")
    run.predictions.mkdir(parents=True)
    for number, batch in enumerate(batches):
        pq.write_table(pa.Table.from_batches([batch]), run.predictions / f"{number}.parquet")
    groups = {
        "name": "validation",
        "variants": {name: {"method": m} for name, m in methods.items()},
    }
    values = merged(job_values(folder / "in", folder, folder / "model"), groups)
    run.keep_config(JobConfig.model_validate(values))
    made_by = {"methods": methods, "adapters": {}, **provenance}
    write_manifest(run, fingerprint="0123456789ab", provenance=made_by)
    told = {name: {"probabilities": some} for name, some in (probabilities or {}).items()}
    entry = {"file": "0.5 for every label", "values": dict.fromkeys(LABELS, 0.5)}
    kept = {name: {**told.get(name, {}), **entry} for name in methods}
    run.write("thresholds.json", json.dumps(kept))
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path, [rows()], {"plain": "onepass"})


def test_the_best_f1_with_its_provenance(run: RunFolder, said: list[str]) -> None:
    file = tune_run(run.path)
    assert file == run.path / "thresholds-plain.json"
    found = read_thresholds(file)
    gold, probabilities = made()
    cuts = best_f1_thresholds(np.where(gold < 0, np.nan, gold), probabilities)
    assert list(found.thresholds.values()) == cuts
    assert (found.tuned_for, found.precision_floor) == ("f1", None)
    assert (found.method, found.adapter_sha256) == ("onepass", None)
    assert found.untuned == ["political"]
    assert found.thresholds["political"] == 0.5
    tuned_on = found.tuned_on
    assert tuned_on.run is not None
    assert tuned_on.run.model_dump() == {
        "name": "validation",
        "fingerprint": "0123456789ab",
        "variant": "plain",
    }
    assert (tuned_on.opinions, tuned_on.records) == (ROWS // READERS, ROWS)
    assert tuned_on.opinion_hashes == hashed_opinions(f"o{i}" for i in range(ROWS // READERS))
    assert any("* without positives: political. Threshold 0.5" in line for line in said)
    assert any("expect less of others" in line for line in said)


def test_the_table_tells_what_each_threshold_does(run: RunFolder, said: list[str]) -> None:
    cuts = tune_run(run.path)
    gold, probabilities = made()
    place = LABELS.index("anger")
    given = probabilities[:, place] >= read_thresholds(cuts).thresholds["anger"]
    known, real = gold[:, place] >= 0, gold[:, place] == 1
    right = int((given & real).sum())
    precision, recall = right / int((given & known).sum()), right / int(real.sum())
    [row] = [line.split() for line in said if line.startswith("anger ")]
    f1 = 2 * precision * recall / (precision + recall)
    assert row[1] == str(int(real.sum()))
    assert row[3:] == [f"{value:.3f}" for value in (precision, recall, f1)]


def test_a_precision_floor(run: RunFolder, said: list[str]) -> None:
    found = read_thresholds(tune_run(run.path, precision_floor=0.8))
    assert (found.tuned_for, found.precision_floor) == ("precision", 0.8)
    assert found.untuned == ["vulgar", "political"]
    assert found.thresholds["vulgar"] == found.thresholds["political"] == 1.0
    gold, probabilities = made()
    for place, (label, cut) in enumerate(found.thresholds.items()):
        given = (probabilities[:, place] >= cut) & (gold[:, place] >= 0)
        if label in found.untuned:
            assert not given.any()
        else:
            assert (gold[given, place] == 1).mean() >= 0.8
    told = "\n".join(said)
    assert "without positives: political. Threshold 1.0" in told
    assert "no threshold reaches the floor: vulgar. Threshold 1.0" in told


@pytest.mark.parametrize("floor", [0.0, -1.0, 1.01, float("nan")])
def test_a_floor_that_is_no_precision(run: RunFolder, floor: float) -> None:
    with pytest.raises(UsageError, match="--precision-floor"):
        tune_run(run.path, precision_floor=floor)


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path, said: list[str]) -> None:
    """Bad rows are of opinions of their own, with gold that would ruin every threshold."""
    good, (gold, probabilities) = rows(), made()
    opposite = np.where(gold == 1, 0, 1).astype(np.int8)
    answers = predicted.Answers(opposite, probabilities=probabilities)
    other = {"opinion_id": [f"bad{i}" for i in range(ROWS)]}
    quarantined = {**other, "outcome": ["quarantined"] * ROWS, "reason": ["too_long"] * ROWS}
    unusable = predicted.Answers(
        opposite, ["truncated", None] * (ROWS // 2), probabilities=probabilities
    )
    unlabelled = predicted.batch(opposite, {"plain": answers}, other)
    place = unlabelled.schema.get_field_index("gold")
    bad = [
        predicted.batch(opposite, {"plain": answers}, quarantined),
        predicted.batch(opposite, {"plain": unusable}, other),
        unlabelled.set_column(place, "gold", pa.nulls(ROWS, unlabelled["gold"].type)),
    ]
    clean = make_run(tmp_path / "clean", [good], {"plain": "onepass"})
    mixed = make_run(tmp_path / "mixed", [bad[0], good, *bad[1:]], {"plain": "onepass"})
    said.clear()
    expected, found = (read_thresholds(tune_run(each.path)) for each in (clean, mixed))
    assert found == expected
    assert f"{ROWS} records with gold have no usable answer and are left out." in said


def test_the_digest_is_of_the_data_in_any_order(tmp_path: Path) -> None:
    batch = rows()
    parts = [batch.slice(ROWS // 3), batch.slice(0, ROWS // 3)]
    changed = batch.set_column(
        batch.schema.get_field_index("persona"), "persona", pa.array(["p"] * ROWS)
    )
    digests = [
        read_thresholds(
            tune_run(make_run(tmp_path / str(i), each, {"plain": "bits"}).path)
        ).tuned_on.data_digest
        for i, each in enumerate([[batch], parts, [changed]])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_variant_of_several(tmp_path: Path) -> None:
    methods = {"plain": "onepass", "object": "json", "tuned": "bits"}
    run = make_run(tmp_path, [rows(tuple(methods))], methods, adapters={"tuned": "a" * 64})
    with pytest.raises(ConfigError, match="several variants to tune; --variant: plain, tuned"):
        tune_run(run.path)
    with pytest.raises(ConfigError, match="no variant 'tuna', only plain, object, tuned"):
        tune_run(run.path, "tuna")
    with pytest.raises(ConfigError, match=r"object \(method json\) stores no prob.*: plain, tuned"):
        tune_run(run.path, "object")
    found = read_thresholds(tune_run(run.path, "tuned"))
    assert (found.method, found.adapter_sha256) == ("bits", "a" * 64)


def test_the_only_variant_may_have_no_probabilities(tmp_path: Path) -> None:
    run = make_run(tmp_path, [rows(("object",))], {"object": "json"})
    with pytest.raises(ConfigError, match="has no variant with probabilities"):
        tune_run(run.path)


def test_a_json_variant_whose_answers_have_probabilities(tmp_path: Path) -> None:
    methods = {"object": "json", "listed": "json"}
    asked = {"prompts": {"object": "ab" * 32}, "answers": {"object": "cd" * 32}}
    run = make_run(
        tmp_path, [rows(tuple(methods))], methods, {"object": True, "listed": False}, **asked
    )
    found = read_thresholds(tune_run(run.path))
    assert found.tuned_on.run is not None
    assert (found.method, found.tuned_on.run.variant) == ("json", "object")
    assert (found.prompt, found.answer) == ("ab" * 32, "cd" * 32)
    with pytest.raises(ConfigError, match=r"listed \(method json\) stores no probabilities"):
        tune_run(run.path, "listed")


def test_a_run_of_before_there_were_prompt_files_tells_of_none(tmp_path: Path) -> None:
    run = make_run(tmp_path, [rows()], {"plain": "onepass"}, prompts={"plain": "ab" * 32})
    found = read_thresholds(tune_run(run.path))
    assert (found.prompt, found.answer) == (None, None)


@pytest.mark.parametrize("number", [5, 60])
def test_the_labels_are_those_of_the_run(tmp_path: Path, number: int, said: list[str]) -> None:
    rng = np.random.default_rng(1)
    gold = (rng.random((ROWS, number)) < 0.4).astype(np.int8)
    likely = np.clip(0.5 * gold + 0.5 * rng.random(gold.shape), 0, 1).astype(np.float32)
    answers = predicted.Answers((likely >= 0.5).astype(np.int8), probabilities=likely)
    ids = {"opinion_id": [str(i // READERS) for i in range(ROWS)]}
    batch = predicted.batch(gold, {"plain": answers}, ids)
    run = make_run(tmp_path, [batch], {"plain": "onepass"})
    said.clear()
    found = read_thresholds(tune_run(run.path))
    assert tuple(found.thresholds) == predicted.named(number)
    assert list(found.thresholds.values()) == best_f1_thresholds(gold.astype(float), likely)
    assert len([line for line in said if line.startswith("label ")]) == 1 + number


def test_a_run_that_cannot_be_tuned_on(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        tune_run(tmp_path)
    file = run.predictions / "0.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index("gold")
    pq.write_table(table.set_column(place, "gold", pa.nulls(ROWS, table["gold"].type)), file)
    with pytest.raises(UsageError, match="no record has both gold labels and an answer of plain"):
        tune_run(run.path)
    run.manifest_file.unlink()
    with pytest.raises(RunError, match="is not complete"):
        tune_run(run.path)


def test_a_run_that_another_job_holds_is_not_tuned_on(run: RunFolder) -> None:
    """It may be an erasure, and the file would bring back what that takes out."""
    with held(run), pytest.raises(LeaseError, match="held by another job"):
        tune_run(run.path)
    assert not (run.path / "thresholds-plain.json").exists()


def test_a_file_of_the_users_choice_and_no_other(run: RunFolder, tmp_path: Path) -> None:
    output = tmp_path / "cuts.json"
    assert tune_run(run.path, output=output) == output
    first = read_thresholds(output)
    tune_run(run.path, precision_floor=0.7, output=output)
    assert read_thresholds(output) != first
    for wrong in (tmp_path, tmp_path / "nowhere" / "cuts.json", run.manifest_file):
        with pytest.raises(UsageError, match="--output: "):
            tune_run(run.path, output=wrong)
    assert run.manifest() is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuts.json", run.path.name]


def test_a_report_is_refused_for_thresholds_of_its_own_opinions(run: RunFolder) -> None:
    """As when a run's thresholds were put there by another way than a plan."""
    found = read_thresholds(tune_run(run.path))
    kept = {"file": "cuts.json", "values": found.thresholds}
    tuned_on = found.tuned_on.model_dump(mode="json")
    run.write("thresholds.json", json.dumps({"plain": {**kept, "tuned_on": tuned_on}}))
    with pytest.raises(ConfigError) as caught:
        rewrite_report(run.path)
    told = f"thresholds: cuts.json was tuned on opinions of {run.path}: 60 of its 60 have gold"
    assert told in str(caught.value)
    assert not (run.path / "report.html").exists()


@pytest.mark.ray
def test_a_finished_run(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command on what a job wrote, its adapter's hash included; its own job refuses it."""
    run = shutil.copytree(finished.folder, tmp_path / finished.folder.name)
    with pytest.raises(SystemExit) as ended:
        main(["thresholds", str(run), "--variant", "tuned", "--precision-floor", "0.5"])
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()
    file = run / "thresholds-tuned.json"
    assert said[-1] == str(file)
    assert said[0].startswith("tuned (onepass), tuned for a precision of at least 0.5 on hostile-")
    found = read_thresholds(file)
    assert found.adapter_sha256 is not None
    assert 0 < found.tuned_on.opinions <= found.tuned_on.records <= 9
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(finished.config), "--set", f"variants.tuned.thresholds={file}"])
    assert ended.value.code == 2
    complained = capsys.readouterr().err
    opinions = found.tuned_on.opinions
    assert f"{file} was tuned on opinions of this input: {opinions} of its" in complained
