"""`medsent check` tells what it does not read."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from medsent.commands import check as checkup
from medsent.commands.check import tell
from medsent.errors import ConfigError
from medsent.scoring.plan import make_plan
from tests.conftest import JobBuilder, logged


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_: Any) -> None:
        raise ConfigError("there is none")

    monkeypatch.setattr(checkup, "check_cluster", lacking)


def told(job: JobBuilder, source: Path) -> dict[str, str]:
    with logged() as said:
        tell(make_plan(job(input={"path": str(source)})), here=False)
    return {line[:15].strip(): line[16:] for line in said}


def test_what_is_passed_over_is_counted_and_named(
    tmp_path: Path, demo_shard: Path, job: JobBuilder
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(demo_shard, source / "a.parquet")
    assert "Passed over" not in told(job, source)
    (source / "_SUCCESS").touch()
    (source / "notes\r.txt").touch()
    assert told(job, source)["Passed over"] == (
        f"2 files that are no shards by their names: {source}/_SUCCESS, {source}/notes\\r.txt"
    )
    for number in range(1000):
        (source / f"_{number:04}.parquet").touch()
    line = told(job, source)["Passed over"]
    assert line.startswith("1,002 files that are no shards by their names: ")
    assert line.endswith("_0004.parquet and 997 more")
