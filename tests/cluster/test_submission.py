"""`ray job submit` to a real cluster with a token: a node dies midway, metrics are scraped."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from medsent.errors import ConfigError
from medsent.scoring.telemetry import COUNTERS, IN_FLIGHT
from tests.chaos.job import write_config
from tests.chaos.opinions import write_shards
from tests.chaos.tokenizer import write_tokenizer
from tests.cluster.manifests import REPOSITORY
from tests.cluster.nodes import PATIENCE_S, Nodes
from tests.conftest import predictions_of

pytestmark = pytest.mark.ray

OPINIONS, READERS = 24, 16
BLOCK = 16
TAGS = {"outcome", "reason", "variant", "status", "kind", "le"}
DEATHS = {"ray_medsent_engine_deaths_total"}
MARK = "this is the package that was sent"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    # Not pytest's folder: the paths of Ray's sockets may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="medsent-") as folder:
        nodes = Nodes(Path(folder))
        yield nodes
        nodes.close()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the package, the job's script and its settings."""
    folder = tmp_path_factory.mktemp("submitted")
    for name in ("medsent", "jobs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / "work" / name, ignore=ignore)
    with (folder / "work" / "medsent" / "__init__.py").open("a") as package:
        package.write(f"\nimport sys\n\nprint({MARK!r}, file=sys.stderr)\n")
    write_shards(folder / "shards", opinions=OPINIONS, shards=2, bad_rows=True)
    write_config(
        folder / "work" / "job.yaml",
        source=folder / "shards",
        output=folder / "runs",
        model=write_tokenizer(folder / "model"),
        methods={"plain": "onepass"},
        engine={
            "latency_s": 0.15,
            "max_num_seqs": 4,
            "rows_per_block": BLOCK,
            "replicas": {"min": 2, "max": 2},
        },
    )
    return folder


def submit(nodes: Nodes, job: Path, token: str | None, *overrides: str) -> "subprocess.Popen[str]":
    entrypoint = ["python", "jobs/evaluate.py", "job.yaml"]
    entrypoint += [part for override in overrides for part in ("--set", override)]
    where = ["--working-dir", str(job / "work")]
    return nodes.command("job", "submit", *where, "--", *entrypoint, token=token)


def wait_for_blocks(
    submitted: "subprocess.Popen[str]", job: Path, blocks: int, run: str = "*"
) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and submitted.poll() is None:
        if len(list(job.glob(f"runs/{run}/predictions/*.parquet"))) >= blocks:
            return
        time.sleep(0.1)
    submitted.kill()
    pytest.fail(f"the job committed nothing: {submitted.communicate()[0]}")


@pytest.mark.parametrize("token", ["wrong", None])
def test_without_the_token_nothing_is_taken(nodes: Nodes, job: Path, token: str | None) -> None:
    refused = submit(nodes, job, token)
    said, _ = refused.communicate(timeout=PATIENCE_S)
    assert refused.returncode != 0
    assert re.search("(?i)token|unauthenticated|401|403", said)
    assert MARK not in said
    assert not (job / "runs").exists()


def test_a_driver_without_the_token_says_so(nodes: Nodes, job: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "medsent", "evaluate", "job.yaml"],
        cwd=job / "work",
        env={**nodes.environment(None), "RAY_ADDRESS": nodes.address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == ConfigError.exit_code
    assert refused.stderr.splitlines()[-1] == (
        f"medsent: RAY_ADDRESS: cannot join the cluster at {nodes.address}; is its head running, "
        "and the token right?"
    )


def test_a_submitted_job_outlives_a_node(nodes: Nodes, job: Path) -> None:
    submitted = submit(nodes, job, nodes.token)
    wait_for_blocks(submitted, job, 4)
    nodes.kill_a_scorer()
    said, _ = submitted.communicate(timeout=2 * PATIENCE_S)
    assert submitted.returncode == 0, said
    assert MARK in said
    [run] = (job / "runs").glob("chaos-*")
    assert re.search(rf"(?m)^{re.escape(str(run))}/report\.html$", said)
    assert "records = " in said
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    table = predictions_of(run)
    assert table.num_rows == len(set(table["row_hash"].to_pylist())) == OPINIONS * READERS
    counted = json.loads((run / "manifest.json").read_text())["records"]
    assert counted["input"] == counted["scored"] + counted["quarantined"] == OPINIONS * READERS
    assert nodes.alive() == 2


Scraped = dict[str, dict[frozenset[str], float]]


def scraped(nodes: Nodes, job_name: str) -> Scraped:
    """Return metric to labels, as `name=value`, to value, of one job."""
    found: Scraped = {}
    for family in text_string_to_metric_families(nodes.metrics()):
        for sample in family.samples:
            if sample.labels.get("job_name") == job_name:
                kept = {f"{k}={v}" for k, v in sample.labels.items() if k in TAGS}
                values = found.setdefault(sample.name, {})
                values[frozenset(kept)] = values.get(frozenset(kept), 0.0) + sample.value
    return found


def measured_when(nodes: Nodes, shown: Callable[[Scraped], bool]) -> Scraped:
    """Return what is scraped once `shown` holds of it: a count is on its way for a while."""
    deadline = time.monotonic() + PATIENCE_S
    while not shown(found := scraped(nodes, "measured")):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def test_prometheus_sees_what_a_job_did(nodes: Nodes, job: Path) -> None:
    alone = ("name=measured", "engine.latency_s=0.05", "engine.replicas={min: 1, max: 1}")
    gauge = f"ray_{IN_FLIGHT}"
    submitted = submit(nodes, job, nodes.token, *alone)
    wait_for_blocks(submitted, job, 1, run="measured-*")
    with nodes.engines_stand_still():
        found = measured_when(nodes, lambda seen: any(seen.get(gauge, {}).values()))
        [waiting] = found[gauge].values()
    said, _ = submitted.communicate(timeout=PATIENCE_S)
    assert submitted.returncode == 0, said
    assert 0 < waiting <= OPINIONS * READERS
    [run] = (job / "runs").glob("measured-*")
    counted = json.loads((run / "manifest.json").read_text())["records"]
    total, bucket = "ray_medsent_records_total", "ray_medsent_latency_seconds_bucket_total"
    every = frozenset({"variant=plain", "le=+Inf"})  # what a block counts last
    found = measured_when(nodes, lambda seen: seen[bucket].get(every) == counted["scored"])
    assert set(found) == {f"ray_{n}_total" for n in COUNTERS} - DEATHS
    records = found[total]
    assert records.pop(frozenset({"outcome=scored", "reason=none"})) == counted["scored"]
    assert {
        tags: int(count) for tags, count in records.items()
    } == {
        frozenset({"outcome=quarantined", f"reason={reason}"}): count
        for reason, count in counted["by_reason"].items()
    }  # fmt: skip
    [(tags, answers)] = found["ray_medsent_answers_total"].items()
    assert (tags, answers) == ({"variant=plain", "status=ok"}, counted["scored"])
    within = found[bucket]
    column = predictions_of(run)["plain"].combine_chunks()
    took = np.array(column.field("latency_s").drop_null())
    for bound in (0.1, 0.2, 1.0, 10.0):
        held = within.get(frozenset({"variant=plain", f"le={bound:g}"}), 0)
        assert held == (took <= bound).sum(), bound
    spent = {
        kind: sum(filter(None, column.field(field).to_pylist()))
        for kind, field in (("computed", "prompt_tokens"), ("output", "output_tokens"))
    }
    assert found["ray_medsent_tokens_total"] == {
        frozenset({"variant=plain", f"kind={kind}"}): tokens for kind, tokens in spent.items()
    }
