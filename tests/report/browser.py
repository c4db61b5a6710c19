"""A page in a real headless Chromium, driven over its DevTools protocol."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
START_S = 120

_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
)  # fmt: skip

Message = dict[str, Any]


@dataclass
class Page:
    """One tab. What the browser reports of it is kept in `events`."""

    socket: ClientConnection
    session: str = ""
    events: list[Message] = field(default_factory=list)
    sent: int = 0

    def call(self, method: str, **params: Any) -> Message:
        """Send a command and return its result."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params}
        self.socket.send(
            json.dumps(message | ({"sessionId": self.session} if self.session else {}))
        )
        while True:
            answer = json.loads(self.socket.recv(timeout=START_S))
            if answer.get("id") != self.sent:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return dict(answer["result"])

    def clipped(self) -> list[str]:
        """Return the texts of plots that reach beyond their plot."""
        found: list[str] = self.run(
            "[...document.querySelectorAll('figure svg text')].filter(text => {"
            " const own = text.getBoundingClientRect();"
            " const all = text.ownerSVGElement.getBoundingClientRect();"
            " return own.left < all.left - 1 || own.right > all.right + 1"
            "     || own.top < all.top - 2 || own.bottom > all.bottom + 2;"
            "}).map(text => text.textContent)"
        )
        return found

    def run(self, script: str) -> Any:
        """Return the value of an expression on the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def open(self, path: Path) -> None:
        """Load a file, and wait until it is there."""
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + START_S
        while not self.run(
            f"location.href === '{path.as_uri()}' && document.readyState === 'complete'"
        ):
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)

    def size(self, width: int, height: int = 900) -> None:
        """Show the page as a screen of so many CSS pixels does."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def scheme(self, name: str) -> None:
        """Prefer `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": "\r"}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def named(self, method: str) -> list[Message]:
        """Return what was reported under a name."""
        self.run("0")  # a round trip, so that what came before it is here
        return [event["params"] for event in self.events if event.get("method") == method]


@contextmanager
def new_page() -> Iterator[Page]:
    """Start a browser of its own with one empty page; it ends with the block."""
    assert CHROMIUM is not None, "no chromium on the PATH: apt-get install chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [CHROMIUM, *_OPTIONS, f"--user-data-dir={home}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": home},
        )
        try:
            with connect(
                _address(process, Path(home)), max_size=None, open_timeout=START_S
            ) as socket:
                yield _attach(Page(socket))
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: "subprocess.Popen[bytes]", home: Path) -> str:
    """Wait until the browser has written where it listens."""
    deadline = time.monotonic() + START_S
    file = home / "DevToolsActivePort"
    while True:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert process.poll() is None, f"{CHROMIUM} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{CHROMIUM} does not listen"
        time.sleep(0.05)


def _attach(page: Page) -> Page:
    target = page.call("Target.createTarget", url="about:blank")["targetId"]
    attached = page.call("Target.attachToTarget", targetId=target, flatten=True)
    page.session = attached["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    return page
