"""What is printed, once and by the command line alone; what keeps opinions here."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from medsent.console import ENVIRONMENT, PRIVATE, printing, quieten

LOGGER = logging.getLogger("medsent.somewhere")


@pytest.fixture
def root() -> Iterator[io.StringIO]:
    """A handler such as Ray and vLLM give the root logger; what it writes.

    Levels are Python's own, whatever a library or a test before has made of them.
    """
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    ours, top = logging.getLogger("medsent"), logging.getLogger()
    before = {each: each.level for each in (ours, top)}
    ours.setLevel(logging.NOTSET)
    top.setLevel(logging.WARNING)
    top.addHandler(handler)
    yield written
    top.removeHandler(handler)
    for each, level in before.items():
        each.setLevel(level)


def test_the_command_line_prints_messages_alone_and_once(
    root: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with printing():
        LOGGER.info("scored 100% of {them}")
        LOGGER.warning("Warning: few")
        LOGGER.debug("not told")
    assert tuple(capsys.readouterr()) == ("scored 100% of {them}\nWarning: few\n", "")
    assert root.getvalue() == ""


def test_a_stream_that_is_closed_ends_the_command_as_it_does_for_print(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with printing(), pytest.raises(BrokenPipeError):
        LOGGER.info("a line")


def test_afterwards_the_logger_is_as_it_was(
    root: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="an error"), printing():
        raise ValueError("an error")
    LOGGER.info("for no one")
    LOGGER.warning("for the caller's handler")
    assert tuple(capsys.readouterr()) == ("", "")
    assert root.getvalue() == "for the caller's handler\n"


@pytest.mark.parametrize(
    ("before", "printed"),
    [
        ("", ""),
        ("logging.basicConfig(level=logging.INFO)", "INFO:medsent.a:b\nWARNING:medsent.a:c\n"),
    ],
)
def test_the_library_prints_what_its_caller_asks_for(before: str, printed: str) -> None:
    code = f"import logging, medsent\n{before}\nmine = logging.getLogger('medsent.a')\n"
    code += "mine.info('b')\nmine.warning('c')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", printed)


@pytest.mark.parametrize("verbose", ["", "1"])
def test_who_asks_for_the_libraries_lines_still_tells_nobody(
    verbose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*PRIVATE, *ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEDSENT_VERBOSE", verbose)
    quieten()
    assert {name: os.environ.get(name) for name in PRIVATE} == PRIVATE
    assert {"RAY_USAGE_STATS_ENABLED", "VLLM_NO_USAGE_STATS"} <= set(PRIVATE)
    assert ("VLLM_LOGGING_LEVEL" in os.environ) != bool(verbose)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    quieten()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
