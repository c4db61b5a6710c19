"""What keeps the libraries quiet, and what keeps opinions here however much is to be said."""

import os

import pytest

from medsent.console import ENVIRONMENT, PRIVATE, quieten


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
