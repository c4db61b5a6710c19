"""Jobs with labels of their own, few and many, by every method: from the shards to the report."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from medsent import predictions
from medsent.commands.backfill.job import backfill
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.compare import compare_runs
from medsent.commands.evaluate import evaluate
from medsent.commands.nightly.night import nightly
from medsent.commands.nightly.settings import NightlyConfig
from medsent.config.job import JobConfig
from medsent.errors import GateClosedError
from medsent.predictions import AnswerStatus as Status
from tests.conftest import predictions_of

pytestmark = pytest.mark.ray

FIVE = ("ból", "ulga", "złość na lekarza", "x.y", "no")
WORDS = ("anger", "calm", "fear", "more", "funny")
"""Whole tokens of the small tokenizer, by which `onepass` reads the five."""
SIXTY = (*(f"etykieta {number}" for number in range(55)), *FIVE)
OPINIONS = 120
PERSONAS = ("surgeon", "pharmacist")
UNUSABLE = {
    Status.TRUNCATED,
    Status.NO_JSON,
    Status.LABEL_MISSING,
    Status.LABEL_UNKNOWN,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "digits": {"method": "bits"},
    "object": {"method": "json"},
    "words": {"method": "json", "answer": {"yes": "tak", "no": "nie", "style": "indented"}},
    "list": {"method": "json", "answer": {"form": "list", "under": "etykiety"}},
    "free": {"method": "json", "guided": False, "answer": {"names": {"no": "żadne"}}},
}
COMPARE = [{"baseline": "object", "candidate": "free"}]


@dataclass(frozen=True)
class Made:
    """A finished run over opinions that carry gold of its labels."""

    labels: tuple[str, ...]
    folder: Path

    @property
    def run(self) -> Path:
        [run] = (self.folder / "runs").glob("own-*")
        return run

    @property
    def metrics(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.run / "metrics.json").read_text())
        return values


def gold_of(row: int, labels: tuple[str, ...]) -> list[str]:
    return [name for name in labels if (row + crc32(name.encode())) % 5 == 0]


def gold_columns(form: str, labels: tuple[str, ...]) -> dict[str, pa.Array]:
    """Return the gold of all rows as a struct, as lists of names, or as a column for each label."""
    rows = [set(gold_of(row, labels)) for row in range(OPINIONS)]
    if form == "list":
        return {"labels": pa.array([[n for n in labels if n in row] for row in rows])}
    wide = {name: pa.array([int(name in row) for row in rows], pa.int8()) for name in labels}
    if form == "columns":
        return wide
    return {"labels": pa.StructArray.from_arrays([*wide.values()], [*wide])}


def values(folder: Path, model: Path, labels: tuple[str, ...], form: str) -> dict[str, Any]:
    """Write shard, label file and answer files; return the job's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(OPINIONS)
    columns = {
        "record_id": [f"r{n}" for n in numbers],
        "text": [f"opinia numer {n}" for n in numbers],
        "language": ["pl" if n % 2 else "en" for n in numbers],
        "persona": [PERSONAS[n % 2] for n in numbers],
        **gold_columns(form, labels),
    }
    (folder / "in").mkdir()
    pq.write_table(pa.table(columns), folder / "in" / "a.parquet")
    entries = [{"name": name} for name in labels]
    if len(labels) == len(FIVE):
        entries = [
            {**each, "word": word, "description": {"pl": f"opis: {word}"}}
            for each, word in zip(entries, WORDS, strict=True)
        ]
    (folder / "labels.yaml").write_text(yaml.safe_dump(entries, allow_unicode=True))
    variants = {name: dict(each) for name, each in VARIANTS.items()}
    for name, each in variants.items():
        if "answer" in each:
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(each["answer"], allow_unicode=True), encoding="utf-8")
            each["answer"] = str(file)
    if len(labels) == len(FIVE):
        variants["token"] = {"method": "onepass"}
    return {
        "name": "own",
        "input": {"path": str(folder / "in")},
        "output": {"path": str(folder / "runs")},
        "labels": str(folder / "labels.yaml"),
        "model": {"source": str(model), "max_model_len": 8192},
        "variants": variants,
        "engine": {"kind": "scripted", "rows_per_block": 64},
        "compare": COMPARE,
        "statistics": {"replicates": 0},
    }


def _made(folder: Path, model: Path, labels: tuple[str, ...], form: str) -> Made:
    job = values(folder, model, labels, form)
    evaluate(JobConfig.model_validate({**job, "statistics": {"replicates": 100}}))
    return Made(labels, folder)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory, small_model: Path, cluster: None) -> Made:
    return _made(tmp_path_factory.mktemp("five"), small_model, FIVE, "list")


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory, small_model: Path, cluster: None) -> Made:
    return _made(tmp_path_factory.mktemp("sixty"), small_model, SIXTY, "columns")


@pytest.fixture(params=["five", "sixty"])
def made(request: pytest.FixtureRequest) -> Made:
    found: Made = request.getfixturevalue(request.param)
    return found


def test_every_record_has_an_answer_of_the_job_s_labels(made: Made) -> None:
    table = predictions_of(made.run)
    assert predictions.labels_of(made.run / "predictions") == made.labels
    variants = [name for name in table.column_names if name in {*VARIANTS, "token"}]
    assert table.schema == predictions.schema(variants, made.labels)
    for row in table.to_pylist():
        number = int(row["record_id"][1:])
        assert [name for name, value in row["gold"].items() if value == 1] == gold_of(
            number, made.labels
        )
        for variant in variants:
            answer = row[variant]
            if answer["status"] != "ok":
                assert variant == "free"
                assert answer["labels"] is answer["probabilities"] is None
                continue
            assert tuple(answer["labels"]) == made.labels
            assert (answer["probabilities"] is None) == (variant in ("list", "free"))
            if answer["probabilities"] is not None:
                cut = {name: value >= 0.5 for name, value in answer["probabilities"].items()}
                assert cut == answer["labels"]
            assert (answer["repaired"] is None) == (variant != "free")


def test_written_answers_say_what_was_read(made: Made) -> None:
    for row in predictions_of(made.run).to_pylist():
        labels = {name: row[name]["labels"] for name in VARIANTS}
        assert json.loads(row["object"]["answer"]) == labels["object"]
        said = {name: "tak" if value else "nie" for name, value in labels["words"].items()}
        assert row["words"]["answer"] == json.dumps(said, indent=2, ensure_ascii=False)
        given = [name for name, value in labels["list"].items() if value]
        assert json.loads(row["list"]["answer"]) == {"etykiety": given}
        if row["free"]["status"] == "ok":
            renamed = {"żadne" if n == "no" else n: v for n, v in labels["free"].items()}
            text = row["free"]["answer"]
            assert json.loads(text[text.index("{") : text.rindex("}") + 1].replace(",}", "}")) == (
                renamed
            )


def test_answers_that_cannot_be_used_are_counted_by_their_reasons(made: Made) -> None:
    rows = [row["free"] for row in predictions_of(made.run).to_pylist()]
    statuses = Counter(row["status"] for row in rows)
    assert set(statuses) == {"ok", *UNUSABLE}
    counted = made.metrics["variants"]
    assert counted["free"]["answer_statuses"] == statuses
    assert counted["free"]["repaired"] == sum(row["repaired"] is True for row in rows) > 0
    for name in set(counted) - {"free"}:
        assert counted[name]["answer_statuses"] == {"ok": OPINIONS}
    report = (made.run / "report.md").read_text(encoding="utf-8")
    assert all(f"| {status} |" in report for status in UNUSABLE)
    assert all(name in report for name in made.labels)


def test_the_run_says_what_was_asked(made: Made) -> None:
    kept = yaml.safe_load((made.run / "prompts.yaml").read_text(encoding="utf-8"))
    assert kept["words"]["answer"] == {**VARIANTS["words"]["answer"]}
    assert kept["free"]["answer"] == {**VARIANTS["free"]["answer"], "guided": False}
    assert "answer" not in kept["digits"]


def test_runs_of_other_labels_are_compared_by_what_both_have(
    five: Made, sixty: Made, tmp_path: Path, said: list[str]
) -> None:
    report = compare_runs(five.run, sixty.run, ("object", "object"), tmp_path / "out")
    [left_out] = [line for line in said if line.startswith("Labels left out")]
    assert all(name in left_out for name in SIXTY[:55])
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    [comparison] = told["comparisons"]
    assert set(comparison["labels"]) == set(FIVE)
    assert all(name in report.read_text(encoding="utf-8") for name in FIVE)


def test_a_night_closes_where_too_few_answers_can_be_used(
    tmp_path: Path, small_model: Path, cluster: None
) -> None:
    job = values(tmp_path, small_model, FIVE, "struct")
    job["statistics"] = {"replicates": 100}
    job["gate"] = {"macro_f1": None, "generation_success": {"floor": 0.9}}
    job["variants"] = {name: job["variants"][name] for name in ("object", "free")}
    config = NightlyConfig.model_validate(job)
    with pytest.raises(GateClosedError, match="success"):
        nightly(config, date(2026, 3, 1))


def test_a_backfill_hands_on_what_can_be_used(
    tmp_path: Path, small_model: Path, cluster: None
) -> None:
    job = values(tmp_path, small_model, FIVE, "struct")
    del job["compare"]
    job["input"]["fan_out"] = "rows"
    job["variants"] = {"free": job["variants"]["free"]}
    run = backfill(BackfillConfig.model_validate(job)).parent
    rows = pq.read_table(run / "labelled").to_pylist()
    usable = [row for row in predictions_of(run).to_pylist() if row["free"]["status"] == "ok"]
    assert 0 < len(rows) == len(usable) < OPINIONS
    for row in rows:
        assert tuple(row["labels"]) == FIVE
        assert row["probabilities"] is None
    assert {row["record_id"]: row["labels"] for row in rows} == {
        row["record_id"]: row["free"]["labels"] for row in usable
    }
