"""Who is told: a program on stdin, an address by POST; and what fails is only said."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from medsent.commands.nightly.notification import notify
from medsent.commands.nightly.settings import NotifySettings, Status
from tests.conftest import logged

pytestmark = pytest.mark.slow

TOLD = {"text": "the gate is closed", "night": "2026-11-01", "gate": {"rules": []}}


@dataclass
class Hook:
    """A real HTTP server."""

    port: int = 0
    answer: int = 200
    got: list[tuple[str, str | None, Any]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(found.answer)
            if found.answer // 100 == 3:
                self.send_header("Location", f"http://127.0.0.1:{found.port}/login")
            self.end_headers()

        def do_GET(self) -> None:
            found.got.append((self.path, None, None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def told(status: Status = "closed", **settings: Any) -> list[str]:
    with logged() as said:
        notify(NotifySettings.model_validate(settings), status, TOLD)
    return said


def test_a_webhook_gets_the_json(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    assert told(webhook=f"http://127.0.0.1:{hook.port}/hooks/$HOOK_TOKEN") == []
    assert hook.got == [("/hooks/s3cret", "application/json", {"status": "closed", **TOLD})]


def test_a_program_gets_the_json_on_stdin(tmp_path: Path) -> None:
    got = tmp_path / "got.json"
    script = f"import sys; open({str(got)!r}, 'w').write(sys.stdin.read())"
    assert told(command=[sys.executable, "-c", script]) == []
    assert json.loads(got.read_text()) == {"status": "closed", **TOLD}


def test_only_the_ends_that_are_asked_for_are_told(hook: Hook) -> None:
    webhook = f"http://127.0.0.1:{hook.port}/"
    assert told("open", webhook=webhook) == []
    assert hook.got == []
    told("failed", webhook=webhook)
    told("open", webhook=webhook, when=["open"])
    assert [body["status"] for _, _, body in hook.got] == ["failed", "open"]


def test_a_hook_that_refuses_is_said_without_its_secret(hook: Hook) -> None:
    hook.answer = 500
    [said] = told(webhook=f"http://127.0.0.1:{hook.port}/hooks/s3cret")
    assert said == "Nobody was told by notify.webhook: 127.0.0.1 answered 500."


@pytest.mark.parametrize("answer", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_told_nobody(hook: Hook, answer: int) -> None:
    """Behind it is a log-in page, say."""
    hook.answer = answer
    [said] = told(webhook=f"http://127.0.0.1:{hook.port}/hooks/s3cret")
    assert f"127.0.0.1 answered {answer}, a redirect: name the address that takes it" in said
    assert [path for path, _, _ in hook.got] == ["/hooks/s3cret"]
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("webhook", "why"),
    [
        ("http://127.0.0.1:9/s3cret", "127.0.0.1 cannot be reached"),
        ("http://127.0.0.1:no/s3cret", "it is no usable address"),
        ("https://[s3cret", "it is no usable address"),
        ("ftp://127.0.0.1/s3cret", "it is no http:// or https:// address"),
        ("$NOT_SET_ANYWHERE/s3cret", "it is no http:// or https:// address"),
    ],
)
def test_an_address_that_cannot_be_used_is_said(webhook: str, why: str) -> None:
    [said] = told(webhook=webhook)
    assert why in said
    assert "s3cret" not in said


def test_a_program_that_fails_is_said() -> None:
    [said] = told(command=[sys.executable, "-c", "raise SystemExit(7)"])
    assert said.endswith("ended with exit code 7.")
    [said] = told(command=["/no/such/program"])
    assert said.endswith("/no/such/program cannot be run: No such file or directory.")
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    [said] = told(command=sleeper, timeout_s=0.2)
    assert said.endswith("did not end within 0.2 s.")
    # A program need not read what it is told.
    assert told(command=["true"]) == []
