"""MLflow as a sink: what a real tracking server holds of a night."""

import builtins
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from medsent.commands.nightly.gate import Gate
from medsent.commands.nightly.settings import NightlyConfig
from medsent.commands.nightly.tracking import Tracker
from medsent.errors import ConfigError
from medsent.runs.folder import RunFolder
from tests.commands.nightly.evidence import NIGHT, VARIANT
from tests.commands.nightly.test_history import gate
from tests.conftest import job_values

pytestmark = pytest.mark.slow

START_S = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracking server of its own, with its database and artefacts."""
    if find_spec("mlflow") is None and not os.environ.get("CI"):
        pytest.skip("mlflow is not installed: no tracking server can be started")
    folder = tmp_path_factory.mktemp("mlflow")
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1",
        "--artifacts-destination", str(folder / "artefacts"),
    ]  # fmt: skip
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(process, address, folder / "server.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it takes seconds over any other end
        process.wait()


def _free_port() -> int:
    """Return one below those that the system gives to others meanwhile."""
    for port in random.sample(range(20_000, 32_000), 20):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    pytest.fail("no free port for the tracking server")


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the tracking server does not answer: {log.read_text()[-2000:]}")


def config() -> NightlyConfig:
    values = job_values(Path("unread"), Path("runs"), Path("unread"))
    values |= {"name": "nightly", "variants": {VARIANT: {"method": "onepass"}}}
    values["notify"] = {"webhook": "https://example.org/s3cret"}
    return NightlyConfig.model_validate(values)


def night(folder: Path, closed: bool = False) -> tuple[Gate, RunFolder]:
    """Write what a night leaves in its run."""
    found = gate(0, closed)
    run = RunFolder(folder / found.run)
    run.path.mkdir(exist_ok=True)
    run.write("metrics.json", NIGHT.to_json())
    run.write("gate.json", found.to_json())
    for name in ("night.html", "report.html", "report.md", "manifest.json"):
        run.write(name, f"{name} – zażółć")
    return found, run


def logged(address: str, found: Gate) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("nightly")
    return list(
        client.search_runs([experiment.experiment_id], f"tags.`medsent.run` = '{found.run}'")
    )


def test_a_server_holds_the_nights_figures_and_files(
    server: str, tmp_path: Path, said: list[str]
) -> None:
    from mlflow.tracking import MlflowClient

    found, run = night(tmp_path)
    Tracker(server).log(config(), found, run)
    assert said == []
    [made] = logged(server, found)
    assert made.info.status == "FINISHED"
    assert made.data.tags["medsent.gate"] == "open"
    assert made.data.tags["medsent.night"] == str(found.night)
    assert made.data.params["fingerprint"] == run.fingerprint
    assert made.data.params["model.source"] == "unread"
    assert made.data.params[f"variants.{VARIANT}.method"] == "onepass"
    assert not any("s3cret" in value for value in made.data.params.values())
    variant = NIGHT.variants[VARIANT]
    f1 = variant.labels["anger"].f1
    assert f1 is not None
    assert made.data.metrics[f"{VARIANT}/anger/f1"] == f1.value
    assert made.data.metrics[f"{VARIANT}/anger/f1_low"] == f1.low
    assert variant.throughput is not None
    assert made.data.metrics[f"{VARIANT}/records_per_s"] == variant.throughput.records_per_s
    client = MlflowClient(tracking_uri=server)
    names = {file.path for file in client.list_artifacts(made.info.run_id)}
    assert {"gate.json", "report.html", "night.html", "metrics.json"} <= names
    copy = client.download_artifacts(made.info.run_id, "report.html", str(tmp_path))
    assert Path(copy).read_text() == "report.html – zażółć"


def test_the_same_night_again_takes_its_place(server: str, tmp_path: Path, said: list[str]) -> None:
    for closed in (False, True):
        found, run = night(tmp_path, closed)
        Tracker(server).log(config(), found, run)
    assert said == []
    [made] = logged(server, found)
    assert (made.info.status, made.data.tags["medsent.gate"]) == ("FAILED", "closed")


def test_a_server_that_is_not_there_is_only_said(tmp_path: Path, said: list[str]) -> None:
    pytest.importorskip("mlflow")
    Tracker("http://user:s3cret@127.0.0.1:9").log(config(), *night(tmp_path))
    [line] = said
    assert line.startswith("MLflow did not take this night (")
    assert "s3cret" not in line


def test_a_missing_package_is_said_before_anything_is_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("mlflow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'medsent\[mlflow\]'"):
        Tracker("http://127.0.0.1:9")
