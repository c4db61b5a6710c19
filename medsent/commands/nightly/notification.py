"""Telling somebody how a night ended: a program, or an address on the web."""

import json
import logging
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, InvalidURL
from typing import Any
from urllib.parse import urlsplit

from medsent.commands.nightly.settings import NotifySettings, Status
from medsent.errors import place_of

logger = logging.getLogger(__name__)


def notify(settings: NotifySettings, status: Status, told: Mapping[str, Any]) -> None:
    """Send `told` as JSON to those who want to know of such an end; a failure is only said."""
    if status not in settings.when:
        return
    body = json.dumps({"status": status, **told}).encode()
    if settings.command is not None:
        _report(_run(settings.command, body, settings.timeout_s), "notify.command")
    if settings.webhook is not None:
        address = os.path.expandvars(settings.webhook)
        _report(_post(address, body, settings.timeout_s), "notify.webhook")


def _report(failure: str | None, setting: str) -> None:
    if failure is not None:
        logger.warning(f"Nobody was told by {setting}: {failure}.")


def _run(command: list[str], body: bytes, timeout_s: float) -> str | None:
    """Run the program; return why it failed, or None."""
    try:
        done = subprocess.run(
            command, input=body, stdout=subprocess.DEVNULL, timeout=timeout_s, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {timeout_s:g} s"
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    return f"{command[0]} ended with exit code {done.returncode}" if done.returncode else None


class _Staying(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: behind one is a log-in page, say, which takes anything and tells nobody.

    What is told would also reach a host that nobody named.
    """

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, body: bytes, timeout_s: float) -> str | None:
    """Post the body; return why that failed, or None. An address may hold a secret."""
    headers = {"Content-Type": "application/json", "User-Agent": "medsent"}
    try:
        parts = urlsplit(address)
        host = parts.hostname
        if parts.scheme not in ("http", "https"):
            return "it is no http:// or https:// address; is a variable that it names not set?"
        request = urllib.request.Request(address, body, headers)
        with urllib.request.build_opener(_Staying).open(request, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        elsewhere = ", a redirect: name the address that takes it" if error.code // 100 == 3 else ""
        return f"{host} answered {error.code}{elsewhere}"
    except (ValueError, InvalidURL):
        return "it is no usable address"
    except (OSError, HTTPException) as error:
        return f"{host} cannot be reached ({place_of(error)})"
