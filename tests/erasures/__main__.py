"""`python -m tests.erasures`: does an opinion that was erased ever come back, in any file?"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import ray

from medsent.config.job import JobConfig
from medsent.console import quieten
from medsent.scoring.cluster import connect
from tests.conftest import job_values, ray_files
from tests.erasures.campaign import NIGHTLY, Campaign
from tests.erasures.inputs import marks
from tests.erasures.traces import traces


def main(arguments: Sequence[str] | None = None) -> int:
    """Live through a month; return 1 where something is left of an erased opinion."""
    parser = argparse.ArgumentParser(prog="python -m tests.erasures", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    quieten()
    started, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="erasures-"))
    campaign = Campaign(folder, _joining(), options.seed)
    for day in range(options.days):
        campaign.day(day, options.days)
        left = _left(campaign)
        print(f"day {day + 1}: {len(campaign.erased)} erased, {len(left)} files tell of one")
        sys.stdout.flush()
    told = ", ".join(f"{count} {name}" for name, count in sorted(campaign.done.items()))
    print(f"{told}; {time.monotonic() - started:.0f} s")
    left, missing = _left(campaign), _missing(campaign)
    print(*left, *missing, sep="\n")
    print(f"{len(campaign.erased)} erased, {len(left)} files tell of one, {len(missing)} lost")
    if not left and not missing:
        shutil.rmtree(folder)
    return int(bool(left or missing))


def _joining() -> dict[str, str]:
    anywhere = Path("unused")
    connect(JobConfig.model_validate(job_values(anywhere, anywhere, anywhere)))
    address = ray.get_runtime_context().gcs_address
    mode = os.environ["RAY_AUTH_MODE"]
    return {**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": mode}


def _left(campaign: Campaign) -> list[str]:
    """Return what tells of an erased opinion, under the output and among Ray's files."""
    words = [word for number in campaign.erased for word in marks(number)]
    of_ray = [
        str(file)
        for file in ray_files()
        for raw in [file.read_bytes()]
        if any(word.encode() in raw for word in words)
    ]
    return [*traces(campaign.output, words), *of_ray]


def _missing(campaign: Campaign) -> list[str]:
    """Return the opinions that were not erased and that the last backfill has not handed on."""
    runs = campaign.output.glob("backfill-*")
    last = max(runs, key=lambda run: (run / "manifest.json").stat().st_mtime)
    labelled = ds.dataset(last / "labelled", partitioning="hive").to_table(columns=["opinion_id"])
    there = set(pc.unique(labelled["opinion_id"]).to_pylist())
    backlog = [n for n in campaign.numbers[NIGHTLY:] if n not in campaign.erased]
    return [marks(number)[0] for number in backlog if marks(number)[0] not in there]


if __name__ == "__main__":
    sys.exit(main())
