"""A short campaign: the real job killed once in each way."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.job import REPOSITORY
from tests.chaos.kills import KINDS

pytestmark = [pytest.mark.ray, pytest.mark.campaign]

KILLS = len(KINDS)
_SHORT = (
    *("--kills", str(KILLS)),
    *("--kills-a-run", str(KILLS), str(KILLS)),  # each start of a job costs seconds
    *("--latest-s", "0.5", "--passes", "2", "--with-driver", "0"),
)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[int]], str]:
    """Run a campaign; return its table, kind to numbers, and all that it said."""
    table = tmp_path_factory.mktemp("chaos") / "table.md"
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *_SHORT, "--table", str(table)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return _numbers(table), done.stdout


def _numbers(table: Path) -> dict[str, list[int]]:
    rows = [line.strip("| ").split(" | ") for line in table.read_text().splitlines()[2:]]
    return {name: [int(cell) for cell in cells] for name, *cells in rows}


def test_no_row_is_lost_or_doubled(campaign: tuple[dict[str, list[int]], str]) -> None:
    table, said = campaign
    kills, lost, doubled, resumes = table["**total**"]
    assert (kills, lost, doubled) == (KILLS, 0, 0), said
    assert resumes >= table["driver"][0] + table["driver_with_ray"][0] + sum(
        table[kind][0] for kind in ("two_drivers", "part_gone", "orphan")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_kill_hit_a_live_target(
    campaign: tuple[dict[str, list[int]], str], kind: str
) -> None:
    table, said = campaign
    assert table[kind][0] >= 1, said
