"""What a user can get wrong: one line that names it, exit code 2, and nothing started for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from medsent.cli import main
from medsent.commands import evaluate as evaluation
from medsent.input.shard import BadShard
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from tests.commands.bad_inputs import (
    CASES,
    Bench,
    Change,
    another_schema,
    another_type,
    encrypted,
    truncated,
    zero_bytes,
)
from tests.conftest import AdapterWriter, job_values, merged


@pytest.fixture
def bench(
    tmp_path: Path,
    demo_shard: Path,
    small_model: Path,
    write_adapter: AdapterWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """A bench on which any start of Ray, an actor or an engine fails the test."""

    def started(*_: object, **__: object) -> None:
        pytest.fail("something was started")

    monkeypatch.setattr(evaluation, "score", started)
    monkeypatch.setattr("ray.init", started)
    bench = Bench(tmp_path, small_model, write_adapter)
    bench.shard.parent.mkdir()
    bench.write(pq.read_table(demo_shard))
    return bench


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command; return its exit code, stdout, and the last line of stderr."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said, complained = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said, complained.splitlines()[-1]


@pytest.mark.parametrize("command", ["evaluate", "check"])
@pytest.mark.parametrize("case", CASES)
def test_it_ends_with_the_reason(
    bench: Bench, case: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, told = CASES[case]
    values = job_values(bench.shard.parent, bench.folder / "runs", bench.model)
    job = bench.file("job.yaml", yaml.safe_dump(_drop_none(merged(values, change(bench)))))
    places = {"folder": bench.folder, "in": bench.shard.parent, "job": job}
    code, said, reason = ended([command, job], capsys)
    assert code == 2
    assert reason.startswith("medsent: ")
    for part in told:
        assert part.format(**places) in reason
    assert "Run folder" not in said
    assert not (bench.folder / "runs").exists()


def _drop_none(values: dict[str, Any]) -> dict[str, Any]:
    """Take out settings of one engine that the other does not know."""
    engine = {key: value for key, value in values["engine"].items() if value is not None}
    return {**values, "engine": engine}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("engine.rows_per_block=0", "engine.rows_per_block: Input should be greater than"),
        ("engine.max_seqs=3", "unknown setting engine.max_seqs; did you mean max_num_seqs?"),
        ("engine", "--set 'engine': write it as key.sub=value"),
        ("name=[", "--set name: the value is not YAML"),
    ],
)
def test_a_wrong_override_ends_with_the_reason(
    bench: Bench, override: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = job_values(bench.shard.parent, bench.folder / "runs", bench.model)
    job = bench.file("job.yaml", yaml.safe_dump(values))
    code, _, reason = ended(["evaluate", job, "--set", override], capsys)
    assert code == 2
    assert told in reason
    assert not (bench.folder / "runs").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot read the configuration"),
        ("", "must be a mapping of settings"),
        ("name: [", "is not YAML: line"),
        ("name: a", "the setting input is missing; the setting model is missing"),
    ],
)
def test_a_configuration_that_is_none(
    bench: Bench, text: str | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = str(bench.folder / "job.yaml")
    if text is not None:
        bench.file("job.yaml", text)
    code, _, reason = ended(["evaluate", job], capsys)
    assert code == 2
    assert job in reason
    assert told in reason


def test_a_good_job_gets_past_all_checks(bench: Bench) -> None:
    """The control: what stops the others is what they changed."""
    values = job_values(bench.shard.parent, bench.folder / "runs", bench.model)
    job = bench.file("job.yaml", yaml.safe_dump(values))
    with pytest.raises(pytest.fail.Exception, match="something was started"):
        main(["evaluate", job])
    assert (bench.folder / "runs").exists()


@pytest.mark.parametrize("change", [zero_bytes, truncated, encrypted, another_schema, another_type])
def test_a_job_that_may_quarantine_goes_on_without_the_bad_shard(
    bench: Bench, change: Change
) -> None:
    groups = merged({"input": {"on_bad_shard": "quarantine"}}, change(bench))
    values = job_values(bench.shard.parent, bench.folder / "runs", bench.model)
    job = bench.file("job.yaml", yaml.safe_dump(merged(values, groups)))
    with pytest.raises(pytest.fail.Exception, match="something was started"):
        main(["evaluate", job])
    [ledger] = bench.folder.glob("runs/*/ledger.json")
    kept = json.loads(ledger.read_text())
    assert [Path(shard["path"]).name for shard in kept["good"]] == ["a.parquet"]
    assert [Path(shard["path"]).name for shard in kept["bad"]] == ["b.parquet"]


def test_a_shard_once_quarantined_is_not_left_out_where_all_must_be_read(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page is found to be corrupt while reading only; the run remembers that."""
    values = job_values(bench.shard.parent, bench.folder / "runs", bench.model)
    other = bench.shard.with_name("b.parquet")
    shutil.copy(bench.shard, other)
    job = bench.file("job.yaml", yaml.safe_dump(values))
    with pytest.raises(pytest.fail.Exception, match="something was started"):
        main(["evaluate", job])
    [run] = map(RunFolder, bench.folder.glob("runs/*"))
    known = Ledger.read(run)
    told = known.good[str(other)].told()
    bad = BadShard(**told, reason="corrupt_page", message="b is damaged")
    known.quarantine(bad).write(run)
    code, _, complained = ended(["evaluate", job], capsys)
    assert code == 2
    assert complained.endswith("b is damaged")
