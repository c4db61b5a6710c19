"""`python -m tests.chaos --kills 100`: the real job, killed with -9 at seeded random moments."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from medsent.console import quieten
from tests.chaos.campaign import Campaign
from tests.chaos.kills import KINDS
from tests.chaos.toll import Account


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign; return 1 where anything was lost, doubled or else wrong."""
    options = _parser().parse_args(arguments)
    quieten()
    # Short, since the paths of Ray's sockets may be no longer than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    for name in ("ray", "own"):
        (folder / name).mkdir()
    account = _run(options, folder)
    print(f"\n{account.table()}", flush=True)
    _tell(account)
    if options.table:
        options.table.write_text(account.table(), encoding="utf-8")
    if account.failed or options.keep:
        print(f"Kept: {folder} (seed {options.seed})", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return int(account.failed)


def _run(options: argparse.Namespace, folder: Path) -> Account:
    started = time.monotonic()
    campaign = Campaign(folder, options)
    try:
        seconds = campaign.make_reference()
        print(f"Undisturbed: {seconds:.0f} s ({16 * options.opinions} records)", flush=True)
        campaign.run(_queue(options))
    finally:
        campaign.close()
    print(f"{campaign.account.kills} kills in {time.monotonic() - started:.0f} s", flush=True)
    return campaign.account


def _queue(options: argparse.Namespace) -> list[str]:
    """Return the kills to do: as many of each kind as of any other, in a seeded order."""
    queue = list(islice(cycle(options.kinds), options.kills))
    random.Random(options.seed).shuffle(queue)
    return queue


def _tell(account: Account) -> None:
    """Say what the table has no column for."""
    if account.outlived_s:
        print(f"Scorers outlived a killed driver by at most {max(account.outlived_s):.1f} s.")
    for line in account.ended:
        print(f"Ended with an error and was given again: {line}")
    for line in account.faults:
        print(f"WRONG: {line}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--opinions", type=int, default=100, help="16 records each")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--kills-a-run", type=int, nargs=2, default=[4, 6], metavar="N")
    parser.add_argument("--latest-s", type=float, default=3.0, help="wait at most so long to kill")
    parser.add_argument("--passes", type=int, default=6, help="fire at most at this one of a point")
    parser.add_argument("--with-driver", type=float, default=0.3, help="share of kills at a point")
    parser.add_argument("--keep", action="store_true", help="keep the runs' folders")
    parser.add_argument("--table", type=Path, help="write the table to this file as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
