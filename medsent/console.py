"""What is printed: the lines that the package logs, and none of the libraries' own talk.

`MEDSENT_VERBOSE=1` prints the libraries' lines too, except errors that might quote an opinion.
Telemetry stays off even then.
"""

import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

PRIVATE = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Ray prints a failed task's error in the driver, whatever its settings for logs; an
    # exception may quote an opinion.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Keeps opinions out of the printed lines and turns telemetry off, `MEDSENT_VERBOSE` or not."""
ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
_LOGGER = logging.getLogger("medsent")
_NATIVE = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z] \d+ \d+\] ")


def verbose() -> bool:
    """Tell whether the user asked for the libraries' own lines."""
    return bool(os.environ.get("MEDSENT_VERBOSE"))


def quieten() -> None:
    """Set what must be set before the libraries are imported."""
    for name, value in PRIVATE.items():
        os.environ.setdefault(name, value)
    if verbose():
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of missing extra kernels


class _Lines(logging.Handler):
    """Prints each message and nothing else, to what stdout is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


@contextmanager
def printing() -> Iterator[None]:
    """Print what the package logs, until the block ends; for the command line alone.

    Nothing goes on to the root logger: Ray, vLLM or MLflow may give it handlers, which would
    print each line again.
    """
    level, propagates = _LOGGER.level, _LOGGER.propagate
    lines = _Lines()
    _LOGGER.addHandler(lines)
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    try:
        yield
    finally:
        _LOGGER.removeHandler(lines)
        _LOGGER.setLevel(level)
        _LOGGER.propagate = propagates


def has_terminal() -> bool:
    """Tell whether lines are printed, and to a terminal: there a bar may be drawn."""
    return sys.stdout.isatty() and any(isinstance(each, _Lines) for each in _LOGGER.handlers)


@contextmanager
def native_lines_dropped() -> Iterator[None]:
    """Drop the lines that Ray's C++ core writes straight to stderr; all others pass.

    No setting of Ray's keeps them away, and they mean nothing to who started a job.
    """
    if verbose():
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    threading.Thread(target=_pass_on, args=(reader, terminal), daemon=True).start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)


def _pass_on(reader: int, terminal: int) -> None:
    with os.fdopen(reader, "rb") as lines, os.fdopen(terminal, "wb", buffering=0) as out:
        for line in lines:
            if not _NATIVE.match(line):
                out.write(line)
