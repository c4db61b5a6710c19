"""A hub of models in a folder: the few answers of the real one's that its client asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = b"weights" * 200_000


def commit(name: str) -> str:
    """Return a commit's forty digits."""
    return hashlib.sha1(name.encode()).hexdigest()


@dataclass
class Hub:
    """What there is, and what was asked."""

    commits: dict[str, dict[str, bytes]]
    """Commit to its files."""
    branches: dict[str, str] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    """A status, and the hub's own word for it, that every question is answered with."""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer."""
        self.asked.append(path)
        if self.refusal is not None:
            return self.refusal[0], {"X-Error-Code": self.refusal[1]}, b"{}"
        _, *parts = path.partition("?")[0].split("/")
        if parts[:2] == ["api", "models"]:
            revision = parts[5] if len(parts) > 5 else "main"
            return self._about(parts[4] if len(parts) > 4 else "revision", revision)
        return self._file(parts[3], "/".join(parts[4:]))

    def _about(self, kind: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = self.commits[sha]
        told: Any = {"id": "owner/name", "sha": sha, "siblings": []}
        if kind == "tree":
            told = [_entry(name, content) for name, content in files.items()]
        return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()

    def _file(self, sha: str, name: str) -> tuple[int, dict[str, str], bytes]:
        content = self.commits[sha][name]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_etag(content)}"'}
        return 200, headers, content


def _etag(content: bytes) -> str:
    kind = hashlib.sha256 if _is_large(content) else hashlib.sha1
    return kind(content).hexdigest()


def _is_large(content: bytes) -> bool:
    return len(content) > 1 << 20


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
    if _is_large(content):
        entry["lfs"] = {"oid": _etag(content), "size": len(content), "pointerSize": 134}
    return entry


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    """Serve a hub on this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - as the library calls it

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
