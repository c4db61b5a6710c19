"""Create the night's RayJob and wait for its end; what the pod of cronjob-nightly.yaml runs.

KubeRay's RayCronJob gives its jobs no labels, so Kueue would not queue them, and does not
wait for one to end. Exit code 0 where the job succeeded, 1 where it failed, its gate is closed
or it could not be started.
"""

import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import yaml

T = TypeVar("T")

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account's token and the API server's certificate."""

_LOOK_EVERY_S = 15.0
_ANSWER_S = 30.0
_PATIENCE_S = 1800.0
_BUSY = {408, 429}
_ENDS = {"Complete", "Failed", "ValidationFailed"}
"""The deployment states that a RayJob does not leave."""


class Api:
    """The RayJobs and the Jobs of one namespace, over HTTP."""

    def __init__(self, server: str, namespace: str, account: Path = ACCOUNT) -> None:
        """Speak to `server`, such as https://10.0.0.1:443, as the pod's service account."""
        self._jobs = f"{server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self._batch = f"{server}/apis/batch/v1/namespaces/{namespace}/jobs"
        self._account = account

    def create(self, job: dict[str, Any]) -> bool:
        """Create a RayJob; False where there is one of its name already."""
        try:
            self._ask(self._jobs, job)
        except HTTPError as error:
            if error.code != 409:
                raise
            return False
        return True

    def date(self, owner: str) -> str:
        """Return the day on which a batch/v1 Job was created, as YYYY-MM-DD."""
        created: str = self._ask(f"{self._batch}/{owner}")["metadata"]["creationTimestamp"]
        return created[: len("2026-01-31")]

    def status(self, name: str) -> dict[str, Any]:
        """Return a RayJob's status, empty before KubeRay has looked at it."""
        status: dict[str, Any] = self._ask(f"{self._jobs}/{name}").get("status", {})
        return status

    def _ask(self, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {
            "Authorization": f"Bearer {(self._account / 'token').read_text()}",  # it is renewed
            "Content-Type": "application/json",
        }
        request = Request(url, json.dumps(body).encode() if body else None, headers)
        trusted = None
        if url.startswith("https:"):
            trusted = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        with urlopen(request, timeout=_ANSWER_S, context=trusted) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def night(template: dict[str, Any], date: str, owner: tuple[str, str]) -> dict[str, Any]:
    """Return the RayJob of one night, `date` as YYYY-MM-DD; it goes with its owner.

    `owner` is the name and the uid of a batch/v1 Job.
    """
    name, uid = owner
    metadata = {
        **template["metadata"],
        "name": f"{template['metadata']['name']}-{date.replace('-', '')}",
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}],
    }
    spec = {**template["spec"], "entrypoint": f"{template['spec']['entrypoint']} --date {date}"}
    return {**template, "metadata": metadata, "spec": spec}


def run(api: Api, job: dict[str, Any], look_every_s: float = _LOOK_EVERY_S) -> int:
    """Create a RayJob, or find it, and wait for its end; return the exit code."""
    name = job["metadata"]["name"]
    created = patiently(lambda: api.create(job), look_every_s)
    say(f"RayJob {name} is {'created' if created else 'there already; waiting for its end'}.")
    last = ""
    while True:
        status = patiently(lambda: api.status(name), look_every_s)
        state = status.get("jobDeploymentStatus") or "waiting for KubeRay, or in Kueue's queue"
        if state != last:
            say(f"{name}: {state}")
            last = state
        if state in _ENDS:
            return _tell(name, status)
        time.sleep(look_every_s)


def patiently(ask: Callable[[], T], look_every_s: float = _LOOK_EVERY_S) -> T:
    """Ask until there is an answer: an API server may be away for a while."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except (OSError, HTTPException, ValueError) as error:
            refused = isinstance(error, HTTPError) and error.code < 500 and error.code not in _BUSY
            if refused or time.monotonic() > give_up:
                raise
            say(f"the API server did not answer: {str(error) or type(error).__name__}")
            time.sleep(look_every_s)


def _tell(name: str, status: dict[str, Any]) -> int:
    if status.get("jobStatus") == "SUCCEEDED":
        say(f"{name} succeeded: the night is good.")
        return 0
    cause = status.get("message") or status.get("reason") or "no reason is given"
    say(f"{name} ended as {status.get('jobStatus') or 'no job'}: {cause}")
    say(
        f"Is its gate closed, or did it fail? See gate.json in the night's run, and: "
        f"kubectl logs -n medsent job/{name}"
    )
    return 1


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def main() -> int:
    """Start tonight's job from the manifest that is named on the command line."""
    server = "https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}".format(**os.environ)
    template = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    owner = os.environ["JOB_NAME"], os.environ["JOB_UID"]
    api = Api(server, template["metadata"]["namespace"])
    try:
        # Not today's date: a pod that takes another's place may start after midnight.
        return run(api, night(template, patiently(lambda: api.date(owner[0])), owner))
    except HTTPError as error:
        say(f"the API server refused: {error.code} {error.reason}; {error.read().decode()}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
