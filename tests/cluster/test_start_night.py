"""What the CronJob's pod runs, against a small API server of this test's own, over HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.start_night import Api, night, run
from tests.cluster.manifests import CLUSTER
from tests.cluster.schemas import problem

pytestmark = pytest.mark.slow

DATE = "2026-11-27"
TEMPLATE = yaml.safe_load((CLUSTER / "rayjob-nightly.yaml").read_text(encoding="utf-8"))
GONE, BUSY, DROPPED = ({"the server": told} for told in ("is gone", "is busy", "hangs up"))
AWAY = {id(GONE): 503, id(BUSY): 429}
BATCH = "/apis/batch/v1/namespaces/medsent/jobs"
JOBS = "/apis/ray.io/v1/namespaces/medsent/rayjobs"


class Server(ThreadingHTTPServer):
    """Keeps RayJobs, whose status goes through `states`; it knows one token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = "the-pods-token"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.states: list[dict[str, Any]] = []
        self.refusals: list[int] = []
        """Codes that the next creations are answered with."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = job["metadata"]["name"]
        if self.server.refusals:
            self._answer(self.server.refusals.pop(), {})
        elif self._is_known():
            self._answer(409 if name in self.server.jobs else 201, job)
            self.server.jobs.setdefault(name, job)

    def do_GET(self) -> None:
        if self._is_known():
            if self.path == f"{BATCH}/medsent-nightly-29":
                self._answer(200, {"metadata": {"creationTimestamp": f"{DATE}T01:00:03Z"}})
                return
            job = self.server.jobs[self.path.removeprefix(f"{JOBS}/")]
            status = self.server.states.pop(0)
            if status is not DROPPED:
                self._answer(AWAY.get(id(status), 200), {**job, "status": status})

    def _is_known(self) -> bool:
        known = self.headers["Authorization"] == f"Bearer {self.server.token}"
        if not known:
            self._answer(401, {"message": "Unauthorized"})
        return known

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def api(server: Server, tmp_path: Path) -> Api:
    (tmp_path / "token").write_text(server.token)
    return Api(f"http://127.0.0.1:{server.server_port}", "medsent", tmp_path)


def tonight() -> dict[str, Any]:
    return night(TEMPLATE, DATE, ("medsent-nightly-29", "0f-1e"))


def test_a_nights_job_is_the_manifests_with_its_date() -> None:
    job = tonight()
    assert problem(job) is None
    assert job["metadata"]["name"] == "medsent-nightly-20261127"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "medsent"
    assert job["metadata"]["ownerReferences"][0]["uid"] == "0f-1e"
    assert job["spec"].pop("entrypoint").endswith(f"nightly.yaml --date {DATE}")
    assert job["spec"].items() <= TEMPLATE["spec"].items()


GOOD = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
BAD = {
    "jobDeploymentStatus": "Failed",
    "jobStatus": "FAILED",
    "message": "Job entrypoint command failed with exit code 3",
}


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (GOOD, 0, "medsent-nightly-20261127 succeeded: the night is good."),
        (BAD, 1, "kubectl logs -n medsent job/medsent-nightly-20261127"),
        ({"jobDeploymentStatus": "ValidationFailed"}, 1, "medsent-nightly-20261127"),
    ],
)
def test_it_waits_for_the_end_and_passes_it_on(
    server: Server, api: Api, capsys: Any, end: dict[str, Any], code: int, says: str
) -> None:
    running = {"jobDeploymentStatus": "Running"}
    server.states = [{}, running, GONE, BUSY, DROPPED, running, end]
    assert run(api, tonight(), look_every_s=0) == code
    said = capsys.readouterr().out
    assert said.splitlines()[-1].endswith(says)
    for told in ("HTTP Error 503", "HTTP Error 429", "Remote end closed connection"):
        assert f"did not answer: {told}" in said
    assert list(server.jobs) == ["medsent-nightly-20261127"]
    if "message" in end:
        assert end["message"] in said


def test_a_night_that_is_there_is_not_started_again(server: Server, api: Api, capsys: Any) -> None:
    server.jobs["medsent-nightly-20261127"] = {"as": "it was"}
    server.states = [BAD]
    assert run(api, tonight(), look_every_s=0) == 1
    assert server.jobs == {"medsent-nightly-20261127": {"as": "it was"}}
    assert "is there already" in capsys.readouterr().out


def test_a_server_that_is_away_for_a_moment_does_not_end_the_night(
    server: Server, api: Api, capsys: Any
) -> None:
    server.refusals, server.states = [503, 500], [GOOD]
    assert run(api, tonight(), look_every_s=0) == 0
    assert capsys.readouterr().out.count("did not answer") == 2


def test_the_nights_date_is_that_of_its_job(api: Api) -> None:
    assert api.date("medsent-nightly-29") == DATE


def test_a_refused_pod_says_so(server: Server, api: Api) -> None:
    server.token = "another"
    with pytest.raises(OSError, match="401"):
        run(api, tonight())
    assert server.jobs == {}
