"""The demo as a newcomer runs it, on a few records: a real engine inside a real Ray."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from medsent.config.labels import LABELS
from medsent.demo.data import write_split
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.predictions import label_matrix
from tests.asked import onepass, shipped_prompter
from tests.conftest import command, predictions_of
from tests.plain import load_plain, plain_logits

pytestmark = pytest.mark.engine

RECORDS = 40
ADAPTER = Path("medsent/demo/adapter")
COMPARED = 12


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("demo")
    rows = pq.read_table(write_split("heldout", folder)).slice(0, RECORDS)
    (folder / "input").mkdir()
    pq.write_table(rows, folder / "input" / "part-00000.parquet")
    return [
        f"--set=input.path={folder / 'input'}",
        f"--set=output.path={folder / 'runs'}",
        "--set=engine.rows_per_block=16",
    ]


def test_the_demo_scores_reports_and_then_finds_itself_complete(overrides: list[str]) -> None:
    first = subprocess.run(
        [sys.executable, "-m", "medsent", "demo", *overrides],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    report = Path(first.stdout.splitlines()[-1])
    assert report.name == "report.html"
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")

    metrics = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["records"]["input"] == metrics["records"]["scored"] == RECORDS
    assert list(metrics["variants"]) == ["baseline", "finetuned"]
    for variant in metrics["variants"].values():
        assert variant["overall"]["generation_success_rate"]["value"] == 1.0
        assert variant["throughput"]["records"] == RECORDS

    second = command("demo", *overrides)
    assert second.returncode == 0, second.stderr
    assert "no engine is started" in second.stdout
    assert second.stdout.splitlines()[-1] == str(report)
    assert json.loads((report.parent / "metrics.json").read_text(encoding="utf-8")) == metrics


@pytest.mark.parametrize(
    ("variant", "adapter", "cuts"),
    [
        ("baseline", None, "thresholds-baseline.json"),
        ("finetuned", ADAPTER, "thresholds.json"),
    ],
)
def test_what_makes_it_fast_changes_no_label(
    overrides: list[str],
    model_folder: Path,
    tokenizer: Any,
    variant: str,
    adapter: Path | None,
    cuts: str,
) -> None:
    # The other side has no shared prefixes, no batches, no 16 bits, no operations of ours.
    [folder] = Path(overrides[1].partition("output.path=")[2]).iterdir()
    rows = pq.read_table(overrides[0].partition("input.path=")[2]).slice(0, COMPARED).to_pylist()
    prompter = shipped_prompter(tokenizer)
    prompts = [prompter.prompt(row["text"], row["language"], row["persona"]) for row in rows]
    plain = plain_logits(
        load_plain(model_folder, adapter), prompts, onepass(tokenizer).ask.token_ids
    )
    told = predictions_of(folder)
    places = [told["record_id"].to_pylist().index(row["record_id"]) for row in rows]
    labels = label_matrix(told[variant].combine_chunks(), "labels")[places]
    thresholds = read_thresholds(ADAPTER / cuts).thresholds
    at = np.array([thresholds[label] for label in LABELS])
    at = np.log(at / (1 - at))
    differ = (labels == 1) != (plain >= at)
    # Sums of 16 bits are a little off: only a label right at its threshold may be another.
    assert differ.mean() <= 0.02
    assert np.abs(plain - at)[differ].max(initial=0.0) < 0.5
